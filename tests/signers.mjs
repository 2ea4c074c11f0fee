// Vendors' own libraries as signers and judges of messages: @octokit/webhooks-methods and @notionhq/client.
// node signers.mjs MODULES VENDOR < { secret, body, signature? }: prints the signature, or whether the one given holds.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [modules, vendor] = process.argv.slice(2);
const { secret, body, signature } = JSON.parse(readFileSync(0, "utf8"));
// Files, as node resolves names beside this script only.
const library = (file) => import(pathToFileURL(`${modules}/${file}`));

const judges = {
  github: async () => {
    const { sign, verify } = await library("@octokit/webhooks-methods/dist-node/index.js");
    return signature === undefined ? sign(secret, body) : verify(secret, body, signature);
  },
  notion: async () => {
    const { signWebhookPayload, verifyWebhookSignature } = await library("@notionhq/client/build/src/index.js");
    return signature === undefined
      ? signWebhookPayload({ body, verificationToken: secret })
      : verifyWebhookSignature({ body, signature, verificationToken: secret });
  },
};
console.log(JSON.stringify(await judges[vendor]()));
