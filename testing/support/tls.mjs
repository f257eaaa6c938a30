// Certificates for tests, made anew by `openssl` each time: an authority, and a server's signed by it.

import { execFileSync } from "node:child_process"
import { readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"

const EC = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
const DAYS = ["-days", "2"]

/** Makes a certificate that signed itself: an authority's, as `openssl` does when nothing is said, or a server's. */
export function makeSelfSigned(directory, { isAuthority }) {
  const at = (name) => join(directory, name)
  const names = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
  const kind = isAuthority ? [] : ["-addext", "basicConstraints=critical,CA:FALSE"]
  const args = ["req", "-x509", ...EC, ...DAYS, "-subj", "/CN=localhost", ...names, ...kind, "-keyout", "self.key", "-out", "self.crt"]
  execFileSync("openssl", args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] })
  return { caFile: at("self.crt"), ca: readFileSync(at("self.crt")), cert: at("self.crt"), key: at("self.key") }
}

/**
 * Makes `ca.crt`, `tls.crt` and `tls.key` in a directory and says where they are. The server's is for
 * `localhost` and 127.0.0.1, unless `names` says otherwise.
 */
export function makeCertificates(directory, names = "DNS:localhost,IP:127.0.0.1") {
  const at = (name) => join(directory, name)
  const openssl = (...args) => execFileSync("openssl", args, { cwd: directory, stdio: ["ignore", "ignore", "pipe"] })
  openssl("req", "-x509", ...EC, ...DAYS, "-subj", "/CN=a test authority", "-keyout", "ca.key", "-out", "ca.crt")
  openssl("req", ...EC, "-subj", "/CN=a test server", "-keyout", "tls.key", "-out", "tls.csr")
  writeFileSync(at("tls.ext"), `basicConstraints=critical,CA:FALSE\nsubjectAltName=${names}\n`)
  openssl("x509", "-req", "-in", "tls.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", ...DAYS, "-extfile", "tls.ext", "-out", "tls.crt")
  return { caFile: at("ca.crt"), ca: readFileSync(at("ca.crt")), cert: at("tls.crt"), key: at("tls.key") }
}
