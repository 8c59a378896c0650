// oidc-provider, a certified OpenID Provider, as an issuer of job tokens: whatever guard reads here nobody of guard wrote.
//
// Commands come on standard input, one JSON object a line, each is answered by one line on standard output:
//   { "token": { claims }, "aud": "…", "alg": "RS256" }   a signed ID token
//   { "rotate": "both" | "new" }                          another set of keys: with the old ones, or without
//   { "up": false }                                       an outage: connections are cut
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');
const readline = require('node:readline');
const { Provider } = require('oidc-provider');

const ALGORITHMS = {
  RS256: ['rsa', { modulusLength: 2048 }],
  PS256: ['rsa', { modulusLength: 2048 }],
  ES256: ['ec', { namedCurve: 'P-256' }],
  EdDSA: ['ed25519', {}],
};

const server = http.createServer();
let url;
let turn = 0;
let up = true;
let current;

function keys() {
  turn += 1;
  return Object.entries(ALGORITHMS).map(([alg, [kind, options]]) => {
    const { privateKey } = crypto.generateKeyPairSync(kind, options);
    return { ...privateKey.export({ format: 'jwk' }), alg, use: 'sig', kid: `${alg}-${turn}` };
  });
}

function provider(jwks) {
  return new Provider(url, {
    clients: [],
    jwks: { keys: jwks },
    enabledJWA: { idTokenSigningAlgValues: Object.keys(ALGORITHMS) },
    ttl: { IdToken: 300 },
  });
}

async function token({ token: claims, aud, alg }) {
  const { own } = current;
  const client = new own.Client({
    client_id: aud,
    client_secret: 'unused',
    redirect_uris: ['https://client.example/callback'],
    id_token_signed_response_alg: alg,
  });
  const made = new own.IdToken({ sub: claims.sub }, { client });
  made.scope = 'openid';
  for (const [name, value] of Object.entries(claims)) made.set(name, value);
  return { token: await made.issue({ use: 'idtoken' }) };
}

function rotate({ rotate: how }) {
  const fresh = keys();
  const served = how === 'both' ? [...fresh, ...current.jwks] : fresh;
  current = { jwks: fresh, own: provider(fresh), served: provider(served).callback() };
  return {};
}

async function obey(command) {
  if (command.token) return token(command);
  if (command.rotate) return rotate(command);
  ({ up } = command);
  return {};
}

server.on('request', (request, response) => {
  if (up) current.served(request, response);
  else request.socket.destroy();
});

server.listen(Number(process.argv[2] || 0), '127.0.0.1', () => {
  url = `http://127.0.0.1:${server.address().port}`;
  const jwks = keys();
  const own = provider(jwks);
  current = { jwks, own, served: own.callback() };
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
