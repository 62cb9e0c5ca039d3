// The identity provider of the end-to-end tests: npm `oidc-provider` on a free port of the loopback.
//
// It prints one line of JSON, its address, and then obeys lines of JSON on stdin: `{"do": "rotate"}` (new keys under
// new names; the old ones are gone), `{"do": "reissue"}` (new keys under the old names), `{"do": "add"}` (new keys
// beside the old), `{"do": "away"}` (every connection is dropped), `{"do": "back"}`, `{"do": "counts"}`. Each is
// answered by a line. It ends when stdin does, so that no test leaves it behind. A client that brings a proof of
// possession (RFC 9449) gets a token that is bound to its key.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';

// The packages are installed outside the tree; the first argument says where.
const { Provider } = await import(`${process.argv[2]}/node_modules/oidc-provider/lib/index.js`);

// Its advice to operators would stand between the answers.
console.info = () => {};
console.warn = () => {};

// Resources (RFC 8707) that a client may ask a token for: what it is, for whom, and how it is signed.
const RESOURCES = {
  'urn:weir:es256': { audience: 'weir', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } },
  'urn:weir:rs256': { audience: 'weir', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } },
  'urn:weir:opaque': { audience: 'weir', accessTokenFormat: 'opaque' },
  'urn:other:es256': { audience: 'other', accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } },
  'urn:other:opaque': { audience: 'other', accessTokenFormat: 'opaque' },
};

const CONFIDENTIAL = {
  redirect_uris: [],
  response_types: [],
  token_endpoint_auth_method: 'client_secret_basic',
  id_token_signed_response_alg: 'ES256',
};

let generation = 0;
let keys = fresh('k0');
let provider;
let isAway = false;
const counts = {};

function fresh(name) {
  const pair = (type, options) => generateKeyPairSync(type, options).privateKey.export({ format: 'jwk' });
  return [
    { ...pair('ec', { namedCurve: 'P-256' }), kid: `${name}-ec`, use: 'sig', alg: 'ES256' },
    { ...pair('rsa', { modulusLength: 2048 }), kid: `${name}-rsa`, use: 'sig', alg: 'RS256' },
  ];
}

function build(issuer) {
  provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      { ...CONFIDENTIAL, client_id: 'app', client_secret: 'the-secret-of-the-app', grant_types: ['client_credentials'] },
      { ...CONFIDENTIAL, client_id: 'weir', client_secret: 'a secret: of weir%', grant_types: [] },
    ],
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      dPoP: { enabled: true },
      introspection: { enabled: true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_ctx, resource) => ({ scope: 'chat', accessTokenTTL: 600, ...RESOURCES[resource] }),
      },
    },
    // What a company's directory would say of the client.
    extraTokenClaims: () => ({ team: 'research', groups: ['ml-team', 'cleaners'], department: 'r&d' }),
  });
  provider.on('server_error', (_ctx, error) => console.error(error));
}

const server = createServer((request, response) => {
  if (isAway) {
    request.socket.destroy();
    return;
  }
  const path = new URL(request.url, 'http://localhost').pathname;
  counts[path] = (counts[path] ?? 0) + 1;
  provider.callback()(request, response);
});

server.listen(0, '127.0.0.1', () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  build(issuer);
  console.log(JSON.stringify({ issuer }));
  const acts = {
    rotate: () => { generation += 1; keys = fresh(`k${generation}`); },
    reissue: () => { keys = fresh(`k${generation}`); },
    // The first key of a kind signs: the new ones come first.
    add: () => { generation += 1; keys = [...fresh(`k${generation}`), ...keys]; },
    away: () => { isAway = true; },
    back: () => { isAway = false; },
    counts: () => {},
  };
  const lines = createInterface({ input: process.stdin });
  lines.on('line', (line) => {
    const act = JSON.parse(line).do;
    acts[act]();
    if (['rotate', 'reissue', 'add'].includes(act)) build(issuer);
    console.log(JSON.stringify({ counts }));
  });
  lines.on('close', () => process.exit(0));
});
