import { createHash } from "node:crypto";
import { createAuthority, type Issuance } from "../../src/demo/certificates.ts";
import { type OddFields, oddCertificate } from "../support/odd-certificates.ts";

export const oddIssuer = createAuthority({ organization: "Example Trust", commonName: "E1" });

/** An entry of a log; what the logs and the server do not look at is of another issuance. */
export function issuanceOf(fields: OddFields): Issuance {
  const { der, precertificateDer, tbsDer } = oddCertificate(fields);
  const issuerKeyHash = createHash("sha256")
    .update(oddIssuer.publicKey.export({ type: "spki", format: "der" }))
    .digest();
  const preCert = { issuerKeyHash, tbsDer };
  return {
    ...oddIssuer.issue({ dnsNames: [] }),
    certificateDer: der,
    precertificateDer,
    preCert,
    chain: oddIssuer.chain,
  };
}
