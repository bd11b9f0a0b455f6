import type { Severity } from "../alerts/payload.ts";
import { createAuthority, type Issuance } from "./certificates.ts";
import type { CtLog, LogEntry } from "./log-entry.ts";

/** One step of the story: the entries to publish, and the events that must follow. */
export interface Chapter {
  title: string;
  explanation: string;
  entries: LogEntry[];
  expected: { severity: Severity; san: string }[];
}

export interface Story {
  /** The watch list. */
  watched: string[];
  /** The certificates that are in the inventory. */
  inventory: Issuance[];
  chapters: Chapter[];
}

const argon: CtLog = {
  name: "Google 'Argon2026h2' log",
  url: "https://ct.googleapis.com/logs/us1/argon2026h2",
  type: "rfc6962",
};
const oak: CtLog = {
  name: "Let's Encrypt 'Oak2026h2' log",
  url: "https://oak.ct.letsencrypt.org/2026h2",
  type: "rfc6962",
};
const nimbus: CtLog = {
  name: "Cloudflare 'Nimbus2026' log",
  url: "https://ct.cloudflare.com/logs/nimbus2026",
  type: "rfc6962",
};
const willow: CtLog = {
  name: "Let's Encrypt 'Willow2026h2' log",
  url: "https://log.willow.ct.letsencrypt.org/2026h2",
  type: "tiled",
};

const noiseCount = 500;

/** Makes a story with fresh certificates, so that the story can be played again and again. */
export function createStory(): Story {
  const ours = createAuthority({ commonName: "E7", organization: "Let's Encrypt", country: "US" });
  const theirs = createAuthority({
    commonName: "Obliging CA R1",
    organization: "Obliging CA Ltd",
    country: "XX",
  });
  const renewal = ours.issue({ dnsNames: ["example.org", "www.example.org"] });
  const hijack = theirs.issue({ dnsNames: ["login.example.org"] });
  const wildcard = theirs.issue({ dnsNames: ["*.example.org"] });
  const tiled = [
    theirs.issue({ dnsNames: ["vpn.example.org"] }),
    theirs.issue({ dnsNames: ["mail.example.org", "mx.example.net"] }),
  ];
  const noise = ours.issue({ dnsNames: ["example.org.evil.example", "notexample.org"] });
  let index = 1_000_000;
  const entry = (issuance: Issuance, log: CtLog, kind: LogEntry["kind"] = "X509LogEntry"): LogEntry => {
    index += 1;
    return { issuance, log, kind, index };
  };
  return {
    watched: ["example.org"],
    inventory: [renewal],
    chapters: [
      {
        title: "Somebody else's certificates",
        explanation: `${noiseCount} messages, among them names that only look like example.org`,
        entries: Array.from({ length: noiseCount }, () => entry(noise, argon)),
        expected: [],
      },
      {
        title: "Your own renewal",
        explanation:
          "first the precertificate, then the certificate that is in the inventory: one note, no alarm",
        entries: [entry(renewal, argon, "PrecertLogEntry"), entry(renewal, oak)],
        expected: [{ severity: "info", san: "www.example.org" }],
      },
      {
        title: "A certificate that you did not order",
        explanation: "nothing in the inventory belongs to it when its grace is over: somebody is paged, once",
        entries: [entry(hijack, oak, "PrecertLogEntry"), entry(hijack, oak)],
        expected: [{ severity: "suspicious", san: "login.example.org" }],
      },
      {
        title: "One issuance, three logs",
        explanation: "the same certificate arrives three times: one event",
        entries: [argon, oak, nimbus].map((log) => entry(wildcard, log)),
        expected: [{ severity: "suspicious", san: "*.example.org" }],
      },
      {
        title: "Precertificates of a static-ct log",
        explanation: "the feed has no fingerprint for them (they all carry the hash of nothing): two are two",
        entries: tiled.map((issuance) => entry(issuance, willow, "PrecertLogEntry")),
        expected: [
          { severity: "suspicious", san: "vpn.example.org" },
          { severity: "suspicious", san: "mail.example.org" },
        ],
      },
    ],
  };
}
