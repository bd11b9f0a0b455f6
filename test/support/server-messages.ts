/** `certificate_update` messages in the key orders of the servers in use, with chosen names and chosen hostile text. */
export interface MessageParts {
  names: readonly string[];
  /** Stands in every field whose content comes from the certificate. */
  text: string;
  /** The names that certstream-server-go writes for each certificate of the chain. */
  chainNames: readonly (readonly string[])[];
}

type Member = [key: string, value: unknown];

/** The text of a JSON object with members in this order, duplicate keys included. */
export function objectText(members: readonly Member[]): string {
  const text = members.map(([key, value]) => {
    const isText = value instanceof JsonText;
    return `${JSON.stringify(key)}:${isText ? value.text : JSON.stringify(value)}`;
  });
  return `{${text.join(",")}}`;
}

/** A value that is JSON already. */
export class JsonText {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

const object = (...members: Member[]) => new JsonText(objectText(members));
const array = (items: readonly JsonText[]) => new JsonText(`[${items.map((item) => item.text).join(",")}]`);

function fields(text: string): Member[] {
  const name = object(["aggregated", `/CN=${text}/O=${text}`], ["C", null], ["O", text], ["CN", text]);
  return [
    ["subject", name],
    ["issuer", name],
    ["serial_number", "B7590A"],
    ["not_before", 1_761_915_088],
    ["not_after", 1_769_694_679],
    ["fingerprint", "94:14:F0:D3"],
    ["signature_algorithm", "sha256, rsa"],
    ["is_ca", false],
  ];
}

const der: Member = ["as_der", "MIIDszCCA1mgAwIBAgIRALdZ/+8="];
const extensions = (text: string): Member => [
  "extensions",
  object(["subjectAltName", text], ["certificatePolicies", "Policy: 2.23.140.1.2.1\n  CPS: x"]),
];
const entryMembers = (text: string): Member[] => [
  ["seen", 1_761_918_776.52],
  ["source", object(["name", text], ["url", "https://ct.example/log/"])],
];

function goCertificate(names: readonly string[], text: string, ders: Member[]): Member[] {
  return [["all_domains", names], ...ders, extensions(text), ...fields(text)];
}

/** certstream-server-go: the leaf begins with its names; the chain before it has names too; the type comes last. */
export function goMessage(
  { names, text, chainNames }: MessageParts,
  feed: "full" | "lite" | "tiled",
): string {
  const isFull = feed === "full";
  const chain = chainNames.map((each) => object(...goCertificate(each, text, [der])));
  const data = object(
    ["cert_index", 1_234],
    ["cert_link", feed === "tiled" ? "" : "https://ct.example/log/ct/v1/get-entries?start=1234&end=1234"],
    ...(isFull ? [["chain", array(chain)] as Member] : []),
    ["leaf_cert", object(...goCertificate(names, text, isFull ? [der] : []))],
    ...entryMembers(text),
    ["update_type", "PrecertLogEntry"],
  );
  return `${objectText([
    ["data", data],
    ["message_type", "certificate_update"],
  ])}\n`;
}

/** certstream-server-rust: the type first, the leaf's names late in it, a chain without names behind it. */
export function rustMessage({ names, text, chainNames }: MessageParts, feed: "full" | "lite"): string {
  const isFull = feed === "full";
  const leaf = [
    ...fields(text),
    ["all_domains", names] as Member,
    ...(isFull ? [der] : []),
    extensions(text),
  ];
  const chain = chainNames.map(() => object(...fields(text), extensions(text)));
  const data = object(
    ["update_type", "X509LogEntry"],
    ["leaf_cert", object(...leaf)],
    ...(isFull ? [["chain", array(chain)] as Member] : []),
    ["cert_index", 1_234],
    ["cert_link", "https://ct.example/log/"],
    ...entryMembers(text),
  );
  return objectText([
    ["message_type", "certificate_update"],
    ["data", data],
  ]);
}

/** CaliDog's server: like it, but without an issuer, and the names come last in the leaf. */
export function caliDogMessage({ names, text, chainNames }: MessageParts): string {
  const certificate = (...last: Member[]) =>
    object(["subject", text], extensions(text), ["serial_number", "B7590A"], der, ...last);
  const data = object(
    ["update_type", "X509LogEntry"],
    ["leaf_cert", certificate(["all_domains", names])],
    ["chain", array(chainNames.map(() => certificate()))],
    ["cert_index", 1_234],
    ...entryMembers(text),
  );
  return objectText([
    ["message_type", "certificate_update"],
    ["data", data],
  ]);
}

/** All of them, by a name for the test's output. */
export const serverMessages: Record<string, (parts: MessageParts) => string> = {
  "go full": (parts) => goMessage(parts, "full"),
  "go lite": (parts) => goMessage(parts, "lite"),
  "go tiled": (parts) => goMessage(parts, "tiled"),
  "rust full": (parts) => rustMessage(parts, "full"),
  "rust lite": (parts) => rustMessage(parts, "lite"),
  calidog: caliDogMessage,
};
