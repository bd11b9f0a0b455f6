import { describe, expect, it } from "vitest";
import { canSkip } from "../../src/feed/prefilter.ts";
import { buildWatchList } from "../../src/watchlist/matcher.ts";
import { tableHas } from "../../src/watchlist/name-hash.ts";
import { goMessage, JsonText, objectText, rustMessage, serverMessages } from "../support/server-messages.ts";

const servers = Object.entries(serverMessages);
const { table } = (await buildWatchList(["example.org", "foo.example.org"])).watchList;
const ordinary = {
  names: ["shop.example.com", "*.Example.COM", "xn--bcher-kva.example", "_acme.1.2-3.net"],
  text: 'O=A "quoted", (in brackets) \\ name & Sons\nDNS:example.org, é',
  chainNames: [["R11"], ["ISRG Root X1", "é"]],
};
const skips = (text: string) => canSkip(Buffer.from(text), table);

describe("canSkip, on the messages of each server", () => {
  it.each(servers)("%s: skips an ordinary message", (_, write) => {
    expect(skips(write(ordinary))).toBe(true);
    expect(skips(write({ names: [], text: "", chainNames: [] }))).toBe(true);
    expect(skips(write({ names: ["", "org", "*.com", "notexample.org"], text: "", chainNames: [] }))).toBe(
      true,
    );
  });

  it.each(servers)("%s: parses what is covered, first, last, in the middle", (_, write) => {
    for (const name of [
      "example.org",
      "*.EXAMPLE.org",
      "a.b.example.org",
      "*.org",
      ".example.org",
      "*.*.example.org",
    ]) {
      expect(skips(write({ ...ordinary, names: [name] })), name).toBe(false);
      expect(skips(write({ ...ordinary, names: [name, ...ordinary.names] })), name).toBe(false);
      expect(skips(write({ ...ordinary, names: [...ordinary.names, name] })), name).toBe(false);
      expect(skips(write({ ...ordinary, names: ["a.net", name, "b.net"] })), name).toBe(false);
    }
  });

  it.each(servers)("%s: parses every name that is not plain", (_, write) => {
    for (const name of [
      "a.com.",
      "a.com/",
      "a com",
      "é.com",
      "\0",
      'a"',
      "a\\",
      "a]",
      "a,b",
      "http://a.com",
      "[",
    ]) {
      expect(skips(write({ ...ordinary, names: [name] })), name).toBe(false);
      expect(skips(write({ ...ordinary, names: ["a.net", name, "b.net"] })), name).toBe(false);
    }
  });
});

describe("canSkip", () => {
  const clear = goMessage({ ...ordinary, names: ["a.net"] }, "lite");
  const names = '"all_domains":["a.net"]';

  it.each([
    ["other white space", clear.replace(names, '"all_domains": ["a.net"]')],
    ["white space in the array", clear.replace(names, '"all_domains":[ "a.net"]')],
    ["white space between names", clear.replace(names, '"all_domains":["a.net", "b.net"]')],
    ["an escape in a name", clear.replace(names, '"all_domains":["\\u0061.net"]')],
    ["no array", clear.replace(names, '"all_domains":"a.net"')],
    ["a number among the names", clear.replace(names, '"all_domains":["a.net",1]')],
    ["an array among the names", clear.replace(names, '"all_domains":["a.net",["b.net"]]')],
    ["no names at all", clear.replace(`${names},`, "")],
    ["an unterminated array", clear.replace('"a.net"]', '"a.net"').replaceAll("]", "")],
    ["a missing comma", clear.replace(names, '"all_domains":["a.net""b.net"]')],
    ["another separator", clear.replace(names, '"all_domains":["a.net";"b.net"]')],
    ["a missing quotation mark", clear.replace(names, '"all_domains":[/b.net"]')],
    ["no colon", clear.replace(names, '"all_domains" ["a.net"]')],
    ["a brace for a bracket", clear.replace(names, '"all_domains":{"a.net"]')],
    ["something before it", `x${clear}`],
    ["its end missing", rustMessage({ ...ordinary, names: ["a.net"] }, "full").slice(0, -3)],
    ["a trailing comma", clear.replace(names, '"all_domains":["a.net",]')],
    ["another type", clear.replace("certificate_update", "heartbeat")],
    ["no type", clear.replace(',"message_type":"certificate_update"', "")],
    [
      "a type in the middle",
      clear.replace(names, `"message_type":"certificate_update",${names}`).replace(/,"m[^,]*$/, "}"),
    ],
    [
      "two names arrays, the second covered",
      clear.replace(names, `"x":1,${names},"all_domains":["example.org"]`),
    ],
    [
      "two names arrays, the first covered",
      clear.replace(names, `"x":1,"all_domains":["example.org"],${names}`),
    ],
    ["two names arrays, the second unclear", clear.replace(names, `"x":1,${names},"all_domains":[ ]`)],
    ["nothing", ""],
    ["a heartbeat", '{"message_type":"heartbeat"}'],
  ])("parses a message with %s", (_, text) => {
    expect(skips(clear)).toBe(true);
    expect(skips(text)).toBe(false);
  });

  it("finds nothing in an empty table, whatever the hash", () => {
    expect(tableHas({ hashes: new Int32Array(2), mask: 1 }, 0)).toBe(false);
  });

  it("takes a key that ends like another for what it is", () => {
    const fake = new JsonText(objectText([["all_domains", ["a.net"]]]));
    const leaf = new JsonText(
      objectText([
        ["is_ca", false],
        ["all_domains", ["example.org"]],
        ['x"leaf_cert', fake],
      ]),
    );
    const type = ["message_type", "certificate_update"] as [string, string];
    expect(skips(objectText([["data", new JsonText(objectText([["leaf_cert", leaf]]))], type]))).toBe(false);
    expect(skips(objectText([['x"all_domains', ["a.net"]], ["my_all_domains", ["a.net"]], type]))).toBe(
      false,
    );
  });

  it("skips a message with other arrays in it, before the names and behind", () => {
    const whole = goMessage({ ...ordinary, text: "", names: ["a.net"] }, "full");
    expect(skips(whole.replaceAll('"as_der":', '"all_reg_domains":["a.net"],"as_der":'))).toBe(true);
    expect(skips(whole.replaceAll('"seen":', '"policies":[{"sct_list":[]}],"seen":'))).toBe(true);
    expect(skips(whole.replaceAll('"seen":', '"nameservers":["x"],"seen":'))).toBe(false);
  });

  const name = "www.example.org";
  const joined = (separator: string) => (first: string, second: string) => first + separator + second;
  it.each([
    ["joined", joined("")],
    ["on two lines", joined("\n")],
    ["with a comma between", joined(",")],
    ["with something between", joined("\0x")],
  ])("parses a frame with two messages, %s", (_, join) => {
    for (const [, first] of servers) {
      for (const [, second] of servers) {
        const [clear, covered] = [["a.net"], [name]];
        for (const [one, other] of [
          [clear, clear],
          [clear, covered],
          [covered, clear],
        ] as const) {
          const frame = join(
            first({ ...ordinary, text: "", names: one }),
            second({ ...ordinary, text: "", names: other }),
          );
          expect(skips(frame), frame).toBe(false);
        }
      }
    }
  });

  const twice = '"all_domains":["a.net"],"all_domains":["www.example.org"]';
  const leaf = `"leaf_cert":{${names}}`;
  const coveredLeaf = '"leaf_cert":{"all_domains":["www.example.org"]}';
  const full = goMessage({ names: ["a.net"], text: "", chainNames: [["R11"], []] }, "full");
  it.each([
    ["names twice, the second covered", clear.replace(names, twice)],
    [
      "names twice, behind other members",
      clear.replace(`${names},`, "").replace('"is_ca":', `${twice},"is_ca":`),
    ],
    [
      "names at the beginning and at the end of the leaf",
      clear.replace('"is_ca":false', '"is_ca":false,"all_domains":["www.example.org"]'),
    ],
    ["a second leaf behind", clear.replace('"seen":', `${coveredLeaf},"seen":`)],
    ["a second leaf before", clear.replace('"leaf_cert":', `${coveredLeaf},"leaf_cert":`)],
    [
      "a second leaf in a second `data`",
      clear.replace(',"message_type"', `,"data":{${coveredLeaf}},"message_type"`),
    ],
    [
      "names in the extensions only",
      clear.replace(`${names},`, "").replace('"extensions":{', `"extensions":{${names},`),
    ],
    [
      "names in another object only",
      clear.replace(`${names},`, "").replace('"seen":', `"other":{${names}},"seen":`),
    ],
    ["names in a text only", clear.replace(names, `"x":${JSON.stringify(`{${leaf}}`)}`)],
    ["names of the chain only", full.replace(`${leaf.slice(0, -1)},`, '"leaf_cert":{')],
    [
      "names of the chain only, written late",
      full
        .replace(`${leaf.slice(0, -1)},`, '"leaf_cert":{')
        .replace(/"all_domains":\["R11"\],("as_der":"[^"]*")/, '$1,"all_domains":["R11"]'),
    ],
    [
      "a key written with an escape",
      clear.replace(names, `${names},"all_dom\\u0061ins":["www.example.org"]`),
    ],
    [
      "a key written with an escape at its end",
      clear.replace(names, `${names},"all_domain\\u0073":["www.example.org"]`),
    ],
    ["something behind it", `${clear}x`],
    ["a heartbeat behind it", `${clear}{"message_type":"heartbeat"}\n`],
    ["a heartbeat before it", `{"message_type":"heartbeat"}\n${clear}`],
  ])("parses a message with %s", (_, text) => {
    expect(text).not.toBe(clear);
    expect(skips(full)).toBe(true);
    expect(skips(text)).toBe(false);
  });
});
