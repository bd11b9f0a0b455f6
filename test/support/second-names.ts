const leafThatBeginsWithNames = /[{,]"leaf_cert":\{"all_domains":\[/;
const moreNames = /[{,]\s*"(?:all_domains|leaf_cert)"/;

/**
 * Whether the message has the names of its leaf twice: what only a server that means it would send, and what the
 * prefilter says that it does not look out for. That is another `leaf_cert` or `all_domains` behind a leaf that begins
 * with its names, or a `leaf_cert` at another place than in `data`.
 */
export function hasSecondNames(message: Buffer): boolean {
  const text = message.toString("latin1");
  const found = leafThatBeginsWithNames.exec(text);
  if (found !== null && moreNames.test(text.slice(found.index + found[0].length))) return true;
  let leaves = 0;
  const walk = (value: unknown): void => {
    if (typeof value !== "object" || value === null) return;
    for (const [key, member] of Object.entries(value)) {
      if (key === "leaf_cert") leaves += 1;
      walk(member);
    }
  };
  walk(JSON.parse(message.toString()));
  return leaves > 1;
}
