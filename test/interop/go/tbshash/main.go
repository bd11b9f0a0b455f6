// Command tbshash says what certificate-transparency-go makes of certificates: for each line of stdin, the hex of one
// DER certificate, it writes one line: the hex of the TBSCertificate without poison and SCT list (RFC 6962 section 3.2),
// or "error: " and why there is none.
package main

import (
	"bufio"
	"encoding/hex"
	"fmt"
	"log"
	"os"
	"strings"

	"github.com/google/certificate-transparency-go/x509"
)

func main() {
	lines := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return // The end: every certificate is a whole line.
		}
		der, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			log.Fatal(err)
		}
		if tbs, err := preCertTBS(der); err != nil {
			fmt.Fprintf(out, "error: %s\n", strings.ReplaceAll(err.Error(), "\n", " "))
		} else {
			fmt.Fprintf(out, "%x\n", tbs)
		}
	}
}

// preCertTBS removes each of the two extensions that is there. The library gives a certificate along with errors that
// it calls not fatal, and a log takes such a one; so do we.
func preCertTBS(der []byte) ([]byte, error) {
	cert, err := x509.ParseCertificate(der)
	if x509.IsFatal(err) {
		return nil, err
	}
	tbs := cert.RawTBSCertificate
	var hasPoison, hasSCTList bool
	for _, extension := range cert.Extensions {
		hasPoison = hasPoison || extension.Id.Equal(x509.OIDExtensionCTPoison)
		hasSCTList = hasSCTList || extension.Id.Equal(x509.OIDExtensionCTSCT)
	}
	if hasPoison {
		if tbs, err = x509.BuildPrecertTBS(tbs, nil); err != nil {
			return nil, err
		}
	}
	if hasSCTList {
		if tbs, err = x509.RemoveSCTList(tbs); err != nil {
			return nil, err
		}
	}
	return tbs, nil
}
