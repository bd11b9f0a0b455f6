import { spawn } from "node:child_process";
import { once } from "node:events";
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { go, goBuild } from "./go-build.ts";

const modulePath = "github.com/google/certificate-transparency-go";

/** What logs are made of: the library that reads certificates and removes the CT extensions. */
export interface CertificateTransparencyGo {
  /** Path of `go/readcert`. */
  readCert: string;
  /** Where the Go module proxy's copy of the library lies. */
  folder: string;
  /** Where Go's own X.509 package lies. */
  standardFolder: string;
}

/** Builds `go/readcert`; `null` where the machine has no `go`. */
export async function buildCertificateTransparencyGo(): Promise<CertificateTransparencyGo | null> {
  const readCert = await goBuild("./readcert", "readcert");
  if (readCert === null) return null;
  return {
    readCert,
    folder: await go("list", "-m", "-f", "{{.Dir}}", modulePath),
    standardFolder: await go("list", "-f", "{{.Dir}}", "crypto/x509"),
  };
}

/** What the library says of a certificate: see `go/readcert/main.go`. */
export interface GoReading {
  /** Why it is none; then there is nothing else. */
  error?: string;
  /** Why certstream-server-go would not send it. */
  warning?: string;
  /** Hex. */
  tbs?: string;
  tbsError?: string;
  spkiSha256: string;
  hasPoison: boolean;
  serial: string;
  notBefore: number;
  notAfter: number;
  issuerCn: string;
  issuerO: string;
  subjectCn: string;
  allDomains: string[];
}

export async function readByGo(readCert: string, ders: Uint8Array[]): Promise<GoReading[]> {
  const child = spawn(readCert, { stdio: ["pipe", "pipe", "inherit"] });
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
    throw new Error(`readcert: status ${status}, ${lines.length} lines`);
  return lines.map((line) => JSON.parse(line) as GoReading);
}

/** Every certificate in the files of a folder of Go's, each once: the name of a file that has it, and its DER. */
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
