// oidc-provider, a certified server of OAuth 2.0 as well, as the place where programs get tokens by client credentials (RFC 6749, section
// 4.4) and give them back (RFC 7009).
//
// Commands come on standard input, one JSON object a line, each is answered by one line on standard output:
//   { "find": "TOKEN" }   whose token it is and what it may: {} if it is none any more
'use strict';

const http = require('node:http');
const readline = require('node:readline');
const { Provider } = require('oidc-provider');

// A secret with characters that have to be escaped in a header and in a form.
const SECRET = 'of the%job:+&client_0123456789012345678901234567890';
const client = (id, method) => ({
  client_id: id,
  client_secret: SECRET,
  token_endpoint_auth_method: method,
  grant_types: ['client_credentials'],
  redirect_uris: [],
  response_types: [],
});

const server = http.createServer();
let provider;

async function obey({ find: token }) {
  const found = await provider.ClientCredentials.find(token);
  return found ? { client: found.clientId, scope: found.scope || '' } : {};
}

server.listen(0, '127.0.0.1', () => {
  const url = `http://127.0.0.1:${server.address().port}`;
  provider = new Provider(url, {
    clients: [client('deploys', 'client_secret_basic'), client('others', 'client_secret_post')],
    cookies: { keys: ['only a test'] },
    scopes: ['orders:read', 'orders:write'],
    features: {
      clientCredentials: { enabled: true },
      revocation: { enabled: true, allowedPolicy: (ctx, client, token) => token.clientId === client.clientId },
      devInteractions: { enabled: false },
    },
    ttl: { ClientCredentials: 600 },
  });
  server.on('request', provider.callback());
  process.stdout.write(`${JSON.stringify({ url })}\n`);
  const lines = readline.createInterface({ input: process.stdin });
  let last = Promise.resolve();
  lines.on('line', (line) => {
    last = last
      .then(() => obey(JSON.parse(line)))
      .catch((error) => ({ error: String(error.stack || error) }))
      .then((answer) => process.stdout.write(`${JSON.stringify(answer)}\n`));
  });
  lines.on('close', () => process.exit(0));
});
