/** One for each place of a program's environment that can hold a secret. None of them must ever be printed. */
export const secrets = {
  dsnPassword: "dsn-pass-3f9a",
  feedPassword: "feed-pass-3f9a",
  feedToken: "feed-token-3f9a",
  feedAuthorization: "Bearer feed-authorization-3f9a",
  webhookPassword: "hook-pass-3f9a",
  webhookPath: "hook-path-3f9a",
  webhookToken: "hook-token-3f9a",
  webhookSecret: "whsec_c2VjcmV0LW9mLXRoZS13ZWJob29rLXRlc3RzLTEyMw==",
  authorization: "Bearer authorization-3f9a",
};

/** The URL or DSN with a password in it, unless it has one, and with a query where `token` is given. */
export function withSecrets(url: string, password: string, token?: string): string {
  const [, scheme, user = "", rest] = /^(\w+:\/\/)(?:([^/@]*)@)?(.*)$/s.exec(url)!;
  const credentials = user.includes(":") ? user : `${user || "user"}:${password}`;
  return `${scheme}${credentials}@${rest}${token === undefined ? "" : `?token=${token}`}`;
}

/** The URL of a webhook, which ends in `/`, with a secret wherever one can be. */
export const secretWebhookUrl = (url: string): string =>
  withSecrets(`${url}${secrets.webhookPath}`, secrets.webhookPassword, secrets.webhookToken);

/** Every form in which one of the secrets could be printed. */
const forms = Object.values(secrets).flatMap((secret) => {
  const bare = secret.replace(/^(whsec_|Bearer )/, "");
  const basic = ["user:", ":", "postgres:"].map((user) => Buffer.from(user + bare).toString("base64"));
  return [
    bare,
    encodeURIComponent(bare),
    Buffer.from(bare).toString("base64"),
    Buffer.from(bare).toString("hex"),
    ...basic,
  ];
});

/** The secrets that a text contains, in whatever form. */
export const leaksIn = (text: string): string[] =>
  forms.filter((form) => text.includes(form.replace(/=+$/, "")));
