import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync } from "node:fs";
import { rm } from "node:fs/promises";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer } from "node:tls";

/** Why a program cannot be used, in the form that `describeIfAvailable` wants; undefined: it can. */
export function missing(program: string, versionArgument = "--version"): string | undefined {
  try {
    execFileSync(program, [versionArgument], { stdio: "pipe" });
    return undefined;
  } catch {
    return `no ${program} on this machine`;
  }
}

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

/** Ends TLS in front of a plain server, with the certificate for `localhost`. */
export async function startTlsProxy(
  ca: PrivateCa,
  targetPort: number,
): Promise<{ port: number; close(): Promise<void> }> {
  const open = new Set<{ destroy(): unknown }>();
  const options = { cert: readFileSync(ca.file("server.crt")), key: readFileSync(ca.file("server.key")) };
  const server = createServer(options, (client) => {
    const target = connect(targetPort, "127.0.0.1");
    for (const socket of [client, target]) {
      open.add(socket);
      socket
        .on("error", () => {})
        .on("close", () => {
          client.destroy();
          target.destroy();
        });
    }
    client.pipe(target).pipe(client);
  });
  // Clients that do not trust the certificate break off.
  server.on("tlsClientError", () => {});
  await new Promise<void>((resolve) => server.listen(0, resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      for (const socket of open) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

/** What everybody may read over HTTP. */
export async function publicPages(apiUrl: string): Promise<string> {
  const pages = ["/healthz", "/metrics", "/", "/metrics?token=x"].map(async (path) => {
    const response = await fetch(apiUrl + path);
    return `${[...response.headers].join()}\n${await response.text()}`;
  });
  return (await Promise.all(pages)).join("\n");
}
