// Command readcert says what certificate-transparency-go makes of certificates: for each line of stdin, the hex of the
// bytes of one, it writes one line of JSON, a reading. What certstream-server-go makes of the library's fields is here in
// its own words (internal/certificatetransparency/ct-parser.go).
package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log"
	"os"
	"slices"
	"strings"

	"github.com/google/certificate-transparency-go/x509"
	"github.com/google/certificate-transparency-go/x509/pkix"
)

// reading has nothing but Error where the bytes are no certificate to the library. With Warning they are one that a log
// takes, and that certstream-server-go does not send.
type reading struct {
	Error   string `json:"error,omitempty"`
	Warning string `json:"warning,omitempty"`

	// TBS is the hex of the TBSCertificate without poison and SCT list (RFC 6962 section 3.2); TBSError why there is none.
	TBS      string `json:"tbs,omitempty"`
	TBSError string `json:"tbsError,omitempty"`

	SPKISHA256 string   `json:"spkiSha256,omitempty"`
	HasPoison  bool     `json:"hasPoison"`
	Serial     string   `json:"serial"`
	NotBefore  int64    `json:"notBefore"`
	NotAfter   int64    `json:"notAfter"`
	IssuerCN   string   `json:"issuerCn"`
	IssuerO    string   `json:"issuerO"`
	SubjectCN  string   `json:"subjectCn"`
	AllDomains []string `json:"allDomains"`
}

func main() {
	lines := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			return // The end: every certificate is a whole line.
		}
		der, err := hex.DecodeString(strings.TrimSpace(line))
		if err != nil {
			log.Fatal(err)
		}
		if err := encoder.Encode(read(der)); err != nil {
			log.Fatal(err)
		}
	}
}

// read never takes the process down: the library panics on some of what nobody sends it.
func read(der []byte) (r reading) {
	defer func() {
		if cause := recover(); cause != nil {
			r = reading{Error: fmt.Sprint("panic: ", cause)}
		}
	}()
	cert, err := x509.ParseCertificate(der)
	if x509.IsFatal(err) {
		return reading{Error: err.Error()}
	}
	if err != nil {
		r.Warning = err.Error()
	}
	spki := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	r.SPKISHA256 = hex.EncodeToString(spki[:])
	r.Serial = fmt.Sprintf("%X", cert.SerialNumber)
	if len(r.Serial)%2 == 1 {
		r.Serial = "0" + r.Serial
	}
	r.NotBefore, r.NotAfter = cert.NotBefore.Unix(), cert.NotAfter.Unix()
	r.IssuerCN, r.IssuerO, r.SubjectCN = cert.Issuer.CommonName, organization(cert.Issuer), cert.Subject.CommonName
	r.AllDomains = append([]string{}, cert.DNSNames...)
	if r.SubjectCN != "" && !cert.IsCA && !slices.Contains(r.AllDomains, r.SubjectCN) {
		r.AllDomains = append(r.AllDomains, r.SubjectCN)
	}
	tbs, err := preCertTBS(cert, &r)
	if err != nil {
		r.TBSError = err.Error()
	}
	r.TBS = hex.EncodeToString(tbs)
	return r
}

func organization(name pkix.Name) string {
	result := ""
	for _, one := range name.Organization {
		if len(result) > 0 {
			result += ","
		}
		result += one
	}
	return result
}

// preCertTBS removes each of the two extensions that is there. The library gives a certificate along with errors that
// it calls not fatal, and a log takes such a one; so do we.
func preCertTBS(cert *x509.Certificate, r *reading) (tbs []byte, err error) {
	tbs = cert.RawTBSCertificate
	hasSCTList := false
	for _, extension := range cert.Extensions {
		r.HasPoison = r.HasPoison || extension.Id.Equal(x509.OIDExtensionCTPoison)
		hasSCTList = hasSCTList || extension.Id.Equal(x509.OIDExtensionCTSCT)
	}
	if r.HasPoison {
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
