/** One thing done to the bytes of a message; `at` is taken modulo what there is. */
export interface ByteEdit {
  kind: string;
  at: number;
  /** Around an array of names, where it matters most, or anywhere in the message. */
  near: string;
  length: number;
  token: string;
  names: readonly string[];
}

/** The message with the edit applied; it may be no JSON any more. */
export function edited(message: Buffer, edit: ByteEdit): Buffer {
  const at = position(message, edit);
  const [before, after] = [message.subarray(0, at), message.subarray(at)];
  switch (edit.kind) {
    case "flip": {
      const flipped = Buffer.from(message);
      if (at < flipped.length) flipped[at] = flipped[at]! ^ (1 << (edit.length % 8));
      return flipped;
    }
    case "insert":
      return Buffer.concat([before, Buffer.from(edit.token), after]);
    case "delete":
      return Buffer.concat([before, after.subarray(edit.length)]);
    case "repeat":
      return Buffer.concat([before, after.subarray(0, edit.length), after]);
    case "truncate":
      return edit.length === 0 ? before : message;
    case "upper":
      return Buffer.concat([before, upperCased(after.subarray(0, edit.length)), after.subarray(edit.length)]);
    case "escape":
      return Buffer.from(escapedNames(message.toString(), edit.at));
    case "nameless":
      return Buffer.from(withoutLeafNames(message.toString()));
    case "pretty":
      return Buffer.from(pretty(message.toString(), edit.length % 3));
    default:
      return Buffer.from(withDuplicate(message.toString(), edit));
  }
}

function position(message: Buffer, { near, at }: ByteEdit): number {
  const names = message.lastIndexOf('"all_domains"');
  if (near === "names" && names !== -1) return Math.min(message.length, names + (at % 60));
  return at % (message.length + 1);
}

const upperCased = (bytes: Buffer) => Buffer.from(bytes.toString("latin1").toUpperCase(), "latin1");

/** One character of the names written as `\u` escape, as JSON allows. */
function escapedNames(text: string, at: number): string {
  return text.replace(/"all_domains":\["([^"\\]+)"/g, (whole, name: string) => {
    const char = name[at % name.length]!;
    const escaped = `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`;
    return whole.replace(`"${name}"`, () => `"${name.replace(char, () => escaped)}"`);
  });
}

/** The last `all_domains` taken out, which is the leaf's in every server's order. */
function withoutLeafNames(text: string): string {
  const at = text.lastIndexOf('"all_domains":[');
  const rest = text.slice(at);
  return at === -1
    ? text
    : text.slice(0, at) + rest.replace(/^"all_domains":\[[^\]]*\],?/, "").replace(/^\}/, '"x":0}');
}

function pretty(text: string, indent: number): string {
  try {
    return JSON.stringify(JSON.parse(text), null, indent);
  } catch {
    return text;
  }
}

/** A second member beside one that is there, before or behind it: the last one counts. */
function withDuplicate(text: string, { at, names }: ByteEdit): string {
  const array = `"all_domains":${JSON.stringify(names)}`;
  const duplicates: [RegExp, string][] = [
    [/"all_domains":\[/g, array],
    [/"leaf_cert":\{/g, `"leaf_cert":{${array}}`],
    [/"leaf_cert":\{/g, `"leaf_cert":{"is_ca":false,${array}}`],
    [/"data":\{/g, `"data":{"leaf_cert":{${array}}}`],
    [/"update_type":/g, `"leaf_cert":{${array}}`],
    [/"message_type":/g, `"data":{"leaf_cert":{"is_ca":false,${array}}}`],
    [/"(?:as_der|extensions)":/g, array],
    [/"subjectAltName":/g, array],
    [/"C":/g, array],
    [/"seen":/g, `"other":{${array}}`],
    [/"serial_number":/g, `"others":[{${array}}]`],
  ];
  const [place, member] = duplicates[at % duplicates.length]!;
  return text.replace(place, (found) => `${member},${found}`);
}
