// oidc-provider, a certified OpenID Provider, as the place where people sign in: with a page on which somebody picks who they are,
// groups in the ID token, and the device flow.
//
// Commands come on standard input, one JSON object a line, each is answered by one line on standard output:
//   { "client": { "back": "http://…/sign-in/callback", "secret": "…", "device": true } }   the broker as a client named `guard`
//   { "people": { "ann": { "name": "…", "email": "…", "groups": ["dba"] } } }                who can sign in; `sub` is the name here
//   { "up": false }                                                                          an outage: connections are cut
'use strict';

const crypto = require('node:crypto');
const http = require('node:http');
const readline = require('node:readline');
const { Provider, errors, interactionPolicy } = require('oidc-provider');

const SCOPES = ['openid', 'profile', 'email', 'groups'];
const DEVICE = 'urn:ietf:params:oauth:grant-type:device_code';

const server = http.createServer();
const { privateKey } = crypto.generateKeyPairSync('rsa', { modulusLength: 2048 });
const key = { ...privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig', kid: 'people' };
let url;
let up = true;
let people = {};
let current;
let client = { back: 'https://client.example/sign-in/callback', device: true };

function escape(text) {
  return String(text).replace(/[&<>"']/g, (found) => `&#${found.charCodeAt(0)};`);
}

function html(response, body) {
  response.setHeader('content-type', 'text/html; charset=utf-8');
  response.end(`<!doctype html><title>People</title>${body}`);
}

function provider() {
  const policy = interactionPolicy.base();
  // A client at a loopback address is a native one, which is asked about each time.
  policy.get('consent').checks.remove('native_client_prompt');
  const { back, secret, device } = client;
  const own = new Provider(url, {
    clients: [{
      client_id: 'guard',
      ...(secret ? { client_secret: secret } : { token_endpoint_auth_method: 'none' }),
      redirect_uris: [back],
      response_types: ['code'],
      grant_types: ['authorization_code', ...(device ? [DEVICE] : [])],
      application_type: back.startsWith('https:') ? 'web' : 'native',
    }],
    jwks: { keys: [key] },
    cookies: { keys: ['only a test'] },
    scopes: SCOPES,
    claims: { openid: ['sub'], profile: ['name', 'preferred_username'], email: ['email'], groups: ['groups'] },
    // The groups stand in the ID token, not only behind the userinfo endpoint.
    conformIdTokenClaims: false,
    pkce: { required: () => true },
    features: {
      devInteractions: { enabled: false },
      deviceFlow: {
        enabled: device,
        userCodeInputSource: (ctx, form) => { ctx.body = `<!doctype html><title>Code</title>${form}<button form="op.deviceInputForm">Go on</button>`; },
        userCodeConfirmSource: (ctx, form) => { ctx.body = `<!doctype html><title>Confirm</title>${form}<button form="op.deviceConfirmForm">Yes</button>`; },
        successSource: (ctx) => { ctx.body = '<!doctype html><title>Done</title>Done'; },
      },
    },
    interactions: { policy, url: (ctx, interaction) => `/interaction/${interaction.uid}` },
    ttl: { AccessToken: 600, AuthorizationCode: 60, DeviceCode: 600, Grant: 3600, IdToken: 300, Interaction: 600, Session: 3600 },
    findAccount: (ctx, sub) => people[sub] && {
      accountId: sub,
      claims: () => ({ sub, preferred_username: sub, ...people[sub] }),
    },
    // Nobody is asked whether the broker may know who they are.
    loadExistingGrant: async (ctx) => {
      const grant = new ctx.oidc.provider.Grant({
        clientId: ctx.oidc.client.clientId,
        accountId: ctx.oidc.session.accountId,
      });
      grant.addOIDCScope(SCOPES.join(' '));
      await grant.save();
      return grant;
    },
  });
  const serve = own.callback();
  return async (request, response) => {
    const found = /^\/interaction\/([\w-]+)$/.exec(request.url);
    if (!found) return serve(request, response);
    try {
      await own.interactionDetails(request, response);
      if (request.method === 'GET') {
        const buttons = Object.entries(people).map(([sub, { name }]) => (
          `<button name="sub" value="${escape(sub)}">${escape(name || sub)}</button>`)).join('');
        return html(response, `<form method="post">${buttons}<button name="sub" value="">Nobody</button></form>`);
      }
      let body = '';
      for await (const part of request) body += part;
      const sub = new URLSearchParams(body).get('sub');
      const result = sub ? { login: { accountId: sub } } : { error: 'access_denied', error_description: 'nobody' };
      return await own.interactionFinished(request, response, result, { mergeWithLastSubmission: false });
    } catch (error) {
      response.statusCode = error instanceof errors.OIDCProviderError ? 400 : 500;
      return html(response, escape(error));
    }
  };
}

function obey(command) {
  if (command.client) client = { device: true, ...command.client };
  if (command.people) ({ people } = command);
  if ('up' in command) ({ up } = command);
  if (command.client) current = provider();
  return {};
}

server.on('request', (request, response) => {
  if (up) current(request, response);
  else request.socket.destroy();
});

server.listen(Number(process.argv[2] || 0), '127.0.0.1', () => {
  url = `http://127.0.0.1:${server.address().port}`;
  current = provider();
  process.stdout.write(`${JSON.stringify({ url })}\n`);
  const lines = readline.createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    let answer;
    try {
      answer = obey(JSON.parse(line));
    } catch (error) {
      answer = { error: String(error.stack || error) };
    }
    process.stdout.write(`${JSON.stringify(answer)}\n`);
  });
  lines.on('close', () => process.exit(0));
});
