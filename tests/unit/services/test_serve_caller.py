"""A caller by certificate has a name that nobody can read a person from."""

from __future__ import annotations

import ssl

import trustme

from claimed_med.services import serve_caller


class Call:
    """A gRPC call, as far as its certificate is looked at."""

    def __init__(self, pem):
        self.pem = pem

    def auth_context(self):
        return {"x509_pem_cert": [self.pem]} if self.pem else {}


def test_both_faces_give_one_certificate_one_name():
    authority = trustme.CA()
    first, second = (authority.issue_cert("erika@hospital.example").cert_chain_pems[0].bytes() for _ in range(2))
    name = serve_caller.named(ssl.PEM_cert_to_DER_cert(first.decode()))
    assert serve_caller.of_call(Call(first)) == name
    assert serve_caller.of_call(Call(second)) != name
    assert serve_caller.of_scope({"state": {"client_certificate": name}}) == name
    assert name.startswith("certificate-")
    assert "erika" not in name


def test_without_a_certificate_there_is_no_name():
    assert serve_caller.of_call(Call(b"")) == serve_caller.of_call(object()) == serve_caller.of_scope({}) == ""
