import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer, type LookupFunction, type Socket } from "node:net";
import { fileURLToPath } from "node:url";
import { afterEach, describe, expect, test } from "vitest";
import { FairSocket, fairConnectOptions, fairConnector } from "../src/connect-options.ts";
import { describeIfAvailable } from "./support/skip.ts";

const slowServer = fileURLToPath(new URL("./support/slow-handshakes.mjs", import.meta.url));

/** Finds these addresses for every name. */
const finding =
  (...addresses: string[]): LookupFunction =>
  (_host, { all }, callback) => {
    if (!all) throw new Error("one address is not asked for");
    const found = addresses.map((address) => ({ address, family: address.includes(":") ? 6 : 4 }));
    callback(null, found);
  };

describe("fairConnectOptions", () => {
  test.each([
    [10_000, 1, 10_000],
    [10_000, 2, 5_000],
    [10_000, 3, 3_334],
    [10_000, 8, 2_000],
    [1_000, 1, 2_000],
  ])("in %i ms, %i addresses get %i ms each", async (timeoutMs, count, shareMs) => {
    const addresses = Array.from({ length: count }, (_, i) => `192.0.2.${i}`);
    const options = await fairConnectOptions("name.example", timeoutMs, finding(...addresses));
    expect(options.autoSelectFamilyAttemptTimeout).toBe(shareMs);
  });

  test("an address needs no lookup", async () => {
    for (const address of ["192.0.2.1", "2001:db8::1"])
      expect(await fairConnectOptions(address, 10_000, finding())).toEqual({});
  });

  test("fails as the lookup does", async () => {
    await expect(fairConnectOptions("no-such-name.invalid", 10_000)).rejects.toMatchObject({
      syscall: "getaddrinfo",
    });
  });

  test("what was looked up is handed on, to callers that ask for one address, too", async () => {
    const { lookup } = await fairConnectOptions("name.example", 1, finding("192.0.2.1", "2001:db8::1"));
    const one = new Promise((resolve) => lookup!("", {}, (...answer) => resolve(answer)));
    expect(await one).toEqual([null, "192.0.2.1", 4]);
  });
});

const noLinux = process.platform === "linux" ? undefined : "no Linux";

describeIfAvailable(
  "a name of two addresses, of which the first answers after a second only",
  noLinux,
  () => {
    let child: ChildProcess;
    const sockets: Socket[] = [];
    afterEach(() => {
      child.kill("SIGKILL");
      for (const socket of sockets.splice(0)) socket.destroy();
    });

    /** A server that takes no connection for its first half second: the client's first packets are lost. */
    async function startSlowServer(): Promise<number> {
      child = fork(slowServer);
      const [port] = (await once(child, "message")) as [number];
      child.kill("SIGSTOP");
      // Its queue holds two connections. Handshakes are dropped while it is full.
      for (let i = 0; i < 4; i++) sockets.push(connect(port, "127.0.0.1").on("error", () => {}));
      await Promise.all(sockets.slice(0, 2).map((socket) => once(socket, "connect")));
      setTimeout(() => child.kill("SIGCONT"), 500);
      return port;
    }
    /** Nothing listens at the second address. */
    const lookUp = finding("127.0.0.1", "127.0.0.2");
    const outcome = (socket: Socket) => {
      sockets.push(socket);
      return new Promise((resolve) => {
        socket.once("connect", () => resolve("connected")).once("error", (error) => resolve(error));
      });
    };

    test("is not reached by Node.js alone, and is reached with the options", async () => {
      const port = await startSlowServer();
      const [alone, fair] = await Promise.all([
        outcome(connect({ port, host: "name.example", lookup: lookUp })),
        fairConnectOptions("name.example", 10_000, lookUp).then((options) =>
          outcome(connect({ port, host: "name.example", ...options })),
        ),
      ]);
      expect(alone).toBeInstanceOf(Error);
      expect(fair).toBe("connected");
    });
  },
);

describe("what connects with them", () => {
  test("FairSocket: a host name, an address, a failed lookup, and never again what was destroyed", async () => {
    const server = createServer((socket) => socket.end("hello")).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    for (const host of ["localhost", "127.0.0.1"]) {
      const socket = new FairSocket(10_000).connect(port, host);
      expect(String(await once(socket, "data"))).toBe("hello");
      socket.destroy();
    }
    const [error] = await once(new FairSocket(10_000).connect(port, "no-such-name.invalid"), "error");
    expect(error).toMatchObject({ syscall: "getaddrinfo" });
    const destroyed = new FairSocket(10_000).connect(port, "localhost");
    destroyed.destroy();
    await fairConnectOptions("localhost", 10_000);
    expect(destroyed.connecting).toBe(false);
    server.close();
  });

  test("fairConnector: a host name, and a failed lookup", async () => {
    const server = createServer((socket) => socket.end()).listen(0, "127.0.0.1");
    await once(server, "listening");
    const { port } = server.address() as AddressInfo;
    const connecting = (hostname: string) =>
      new Promise<Socket | null>((resolve, reject) => {
        fairConnector(10_000)({ hostname, port: String(port), protocol: "http:" }, (error, socket) => {
          if (error) reject(error);
          else resolve(socket);
        });
      });
    (await connecting("localhost"))!.destroy();
    await expect(connecting("no-such-name.invalid")).rejects.toMatchObject({ syscall: "getaddrinfo" });
    server.close();
  });
});
