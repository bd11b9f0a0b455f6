import { readFileSync } from "node:fs";
import { type AddressInfo, connect } from "node:net";
import { createServer } from "node:tls";
import type { PrivateCa } from "../support/private-ca.ts";

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
