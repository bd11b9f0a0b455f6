import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { go, goBuild } from "./go-build.ts";

const modulePath = "github.com/google/certificate-transparency-go";

/** What logs are made of: the library that removes the CT extensions, and the certificates of its tests. */
export interface CertificateTransparencyGo {
  /** Path of `go/tbshash`. */
  tbsHash: string;
  /** Where the Go module proxy's copy of the library lies. */
  folder: string;
}

/** Builds `go/tbshash`; `null` where the machine has no `go`. */
export async function buildCertificateTransparencyGo(): Promise<CertificateTransparencyGo | null> {
  const tbsHash = await goBuild("./tbshash", "tbshash");
  if (tbsHash === null) return null;
  return { tbsHash, folder: await go("list", "-m", "-f", "{{.Dir}}", modulePath) };
}

/** For each certificate its TBSCertificate without poison and SCT list by the library, or why it has none. */
export async function preCertTbsByGo(tbsHash: string, ders: Uint8Array[]): Promise<(Buffer | Error)[]> {
  const child = spawn(tbsHash, { stdio: ["pipe", "pipe", "inherit"] });
  const closed = once(child, "close");
  const output = child.stdout.toArray();
  for (const der of ders) {
    if (!child.stdin.write(`${Buffer.from(der).toString("hex")}\n`)) await once(child.stdin, "drain");
  }
  child.stdin.end();
  const lines = Buffer.concat(await output)
    .toString()
    .split("\n")
    .slice(0, -1);
  const [status] = await closed;
  if (status !== 0 || lines.length !== ders.length)
    throw new Error(`tbshash: status ${status}, ${lines.length} lines`);
  return lines.map((line) => (/^error: /.test(line) ? new Error(line.slice(7)) : Buffer.from(line, "hex")));
}

/** Every certificate in the library's own tests, each once: the name of a file that has it, and its DER. */
export async function certificatesOf(folder: string): Promise<{ file: string; der: Buffer }[]> {
  const found = new Map<string, { file: string; der: Buffer }>();
  const files = await readdir(folder, { recursive: true });
  for (const file of files.filter((name) => /\.(go|pem|crt|cert|chain|der)$/.test(name))) {
    const bytes = await readFile(join(folder, file));
    for (const der of file.endsWith(".der") ? [bytes] : pemCertificates(bytes.toString("latin1"))) {
      found.set(der.toString("hex"), { file, der });
    }
  }
  return [...found.values()];
}

/** Also from Go's source, where some are strings joined line by line. */
function pemCertificates(text: string): Buffer[] {
  const joined = text.replaceAll(/\\n"\s*\+\s*"/g, "\n");
  const blocks = joined.matchAll(/-----BEGIN CERTIFICATE-----([\w+/=\s]+)-----END CERTIFICATE-----/g);
  return [...blocks].map(([, base64 = ""]) => Buffer.from(base64, "base64"));
}
