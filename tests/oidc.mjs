// An OAuth and OpenID server that others wrote (oidc-provider), with clients as tests need them.
// node oidc.mjs MODULES PORT PUBLIC_REDIRECT: rotates refresh tokens, asks for PKCE, counts token requests.
import { createRequire } from "node:module";
import { pathToFileURL } from "node:url";

const [modules, port, accessLife] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4] ?? 3600)];
const path = createRequire(`${modules}/`).resolve("oidc-provider");
const { Provider } = await import(pathToFileURL(path));

const issuer = `http://127.0.0.1:${port}`;
const client = (client_id, more) => ({
  client_id,
  client_secret: `${client_id}-s3cret-planted`,
  application_type: "native",
  redirect_uris: ["http://127.0.0.1/oauth/callback", "http://127.0.0.1/login/callback"],
  post_logout_redirect_uris: ["http://127.0.0.1/login"],
  grant_types: ["authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:device_code"],
  token_endpoint_auth_method: "client_secret_post",
  ...more,
});
const provider = new Provider(issuer, {
  clients: [client("weir"), client("board")],
  features: {
    devInteractions: { enabled: true },
    deviceFlow: { enabled: true },
    revocation: { enabled: true },
    clientCredentials: { enabled: true },
    rpInitiatedLogout: { enabled: true },
    // Who asks for a resource gets a signed token for it.
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_, resource) => ({
        scope: "connections:read data:read runs:read runs:write actions:read actions:write",
        audience: resource,
        accessTokenFormat: "jwt",
      }),
    },
  },
  extraTokenClaims: (_, token) => ({ groups: [`${token.accountId ?? token.clientId}-group`] }),
  scopes: ["openid", "offline_access", "read", "write"],
  claims: { openid: ["sub"], profile: ["name", "groups", "preferred_username"] },
  conformIdTokenClaims: false,
  findAccount: (_, id) => ({
    accountId: id,
    claims: () => ({ sub: id, name: `<b>${id}</b>`, preferred_username: id, groups: [`${id}-group`] }),
  }),
  pkce: { required: () => true },
  issueRefreshToken: (_, client, code) => client.grantTypeAllowed("refresh_token") && code.scopes.has("offline_access"),
  rotateRefreshToken: true,
  ttl: { AccessToken: accessLife, DeviceCode: 600, RefreshToken: 14 * 86400, Session: 3600, Grant: 86400, Interaction: 600, IdToken: 600 },
  cookies: { keys: ["test"] },
});
const seen = [];
provider.use(async (ctx, next) => {
  if (ctx.path === "/seen") {
    ctx.body = seen;
    return;
  }
  await next();
  if (ctx.path === "/token" || ctx.path === "/token/revocation") {
    seen.push({ path: ctx.path, grant: ctx.oidc?.params?.grant_type, status: ctx.status });
  }
});
provider.listen(port, "127.0.0.1");
