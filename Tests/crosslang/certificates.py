"""Certificates for the tests, made with the openssl command."""

import os
import pathlib
import subprocess


def openssl(*arguments, cwd) -> str:
    done = subprocess.run(["openssl", *arguments], cwd=cwd, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


class Authority:
    """One authority and what it signs; every file is in `folder`."""

    def __init__(self, folder, name: str = "ca"):
        self.folder = pathlib.Path(folder)
        self.name = name
        self.key(name)
        openssl("req", "-x509", "-new", "-key", f"{name}.key", "-subj", f"/CN=test {name}",
                "-days", "30", "-out", f"{name}.pem", cwd=folder)
        (self.folder / f"{name}.index").write_text("")
        (self.folder / f"{name}.conf").write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder}/{name}.index\n"
            f"default_md=sha256\ndefault_crl_days=30\n")

    @property
    def certificate(self) -> str:
        return str(self.folder / f"{self.name}.pem")

    def key(self, name: str) -> None:
        openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key",
                cwd=self.folder)

    def issue(self, name: str, common_name: str | None = None, days: int = 30,
              san: str = "DNS:localhost,IP:127.0.0.1",
              usage: str = "serverAuth,clientAuth") -> tuple[str, str]:
        """Makes NAME.pem and NAME.key; returns their paths."""
        self.key(name)
        subject = f"/CN={name if common_name is None else common_name}"
        openssl("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr",
                cwd=self.folder)
        lines = [f"extendedKeyUsage={usage}"] + ([f"subjectAltName={san}"] if san else [])
        (self.folder / f"{name}.ext").write_text("\n".join(lines) + "\n")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{self.name}.pem", "-CAkey",
                f"{self.name}.key", "-CAcreateserial", "-days", str(days), "-extfile",
                f"{name}.ext", "-out", f"{name}.pem", cwd=self.folder)
        return str(self.folder / f"{name}.pem"), str(self.folder / f"{name}.key")

    def revoke(self, *names: str, out: str = "crl.pem", der: bool = False) -> str:
        """Makes a list of the revoked certificates."""
        common = ["-config", f"{self.name}.conf", "-cert", f"{self.name}.pem", "-keyfile",
                  f"{self.name}.key"]
        for name in names:
            openssl("ca", *common, "-revoke", f"{name}.pem", cwd=self.folder)
        openssl("ca", *common, "-gencrl", "-out", f"{out}.new", cwd=self.folder)
        if der:
            openssl("crl", "-in", f"{out}.new", "-outform", "DER", "-out", f"{out}.der",
                    cwd=self.folder)
            os.replace(self.folder / f"{out}.der", self.folder / f"{out}.new")
        os.replace(self.folder / f"{out}.new", self.folder / out)
        return str(self.folder / out)


def put_in_place(source: str, target: str) -> None:
    """Replaces `target` as a whole by what `source` holds, as those who renew certificates do."""
    temporary = f"{target}.next"
    pathlib.Path(temporary).write_bytes(pathlib.Path(source).read_bytes())
    os.replace(temporary, target)
