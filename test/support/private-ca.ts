import { execFileSync } from "node:child_process";
import { mkdtempSync } from "node:fs";
import { rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A certificate authority of one's own, a server certificate of it for `localhost`, and an authority nobody trusts. */
export interface PrivateCa {
  /** Path of `ca.crt`, `server.crt`, `server.key` or `other.crt`. */
  file(name: string): string;
  remove(): Promise<void>;
}

export function createPrivateCa(): PrivateCa {
  const folder = mkdtempSync(join(tmpdir(), "certwatch-ca-"));
  const request = (name: string, ...rest: string[]) => {
    const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"];
    const out = ["-keyout", `${name}.key`, "-out", `${name}.crt`];
    execFileSync("openssl", ["req", "-x509", ...key, ...out, ...rest], { cwd: folder, stdio: "pipe" });
  };
  request("ca", "-subj", "/CN=Private CA");
  request("other", "-subj", "/CN=Another CA");
  const name = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"];
  request(
    "server",
    ...name,
    "-addext",
    "basicConstraints=critical,CA:FALSE",
    "-CA",
    "ca.crt",
    "-CAkey",
    "ca.key",
  );
  return { file: (one) => join(folder, one), remove: () => rm(folder, { recursive: true }) };
}
