//! A server with a certificate of its own CA, and a client certificate: fixed, valid from 2020 to 2120.
//!
//! In base64 of DER; [`pem`] wraps them.

/// The CA.
pub(super) const CA: &str = concat!(
    "MIIBVjCB/aADAgECAgEBMAoGCCqGSM49BAMCMBIxEDAOBgNVBAMMB3Rlc3QgY2EwIBcNMjAwMTAxMDAwMDAwWhgPMjEyMDAxMDEw",
    "MDAwMDBaMBIxEDAOBgNVBAMMB3Rlc3QgY2EwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQgANMy1OsND3xehv5MgOW9fyes4+Az",
    "Ewggo49B+qwePSYg3B41bGagYuED5p32XvtgJiDn3FCh/RXTx7ihVPHVo0IwQDAPBgNVHRMBAf8EBTADAQH/MA4GA1UdDwEB/wQE",
    "AwICBDAdBgNVHQ4EFgQUoA3DOHin4EwBp0tTCtKZ6ulmA3EwCgYIKoZIzj0EAwIDSAAwRQIgVqNx9Sgq1mmmz40jE9msNsMC8d4K",
    "PtDf4F4nj/Zv/egCIQCh+pNRKEgGXUxQC4XSQdiLBcwr8vsItKPwt4KetMC2Ng==",
);
/// Signed by [`CA`] for `tools.internal`.
pub(super) const SERVER: &str = concat!(
    "MIIBkDCCATegAwIBAgIBAjAKBggqhkjOPQQDAjASMRAwDgYDVQQDDAd0ZXN0IGNhMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAx",
    "MDAwMDAwWjARMQ8wDQYDVQQDDAZzZXJ2ZXIwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASdqTQV8D/JThQAfQCqZ20dveJO3O8t",
    "XBdOSbdrTooPxM14PWpA3BebgvdR8/7xBfZQIdA0trptZIMNBUkJVZwPo30wezAZBgNVHREEEjAQgg50b29scy5pbnRlcm5hbDAT",
    "BgNVHSUEDDAKBggrBgEFBQcDATAJBgNVHRMEAjAAMB0GA1UdDgQWBBREAmFeo3xejHlePYH3t1uQEhPRUTAfBgNVHSMEGDAWgBSg",
    "DcM4eKfgTAGnS1MK0pnq6WYDcTAKBggqhkjOPQQDAgNHADBEAiBZiFpzcEtc7DrTh2pVUCFKfwtzls45aKWppS7sBr0T4QIgWlkl",
    "CH18AYXXgXCz1q7vmLaOKQ7wnehzDFbGHIf+a7A=",
);
/// Its key.
pub(super) const SERVER_KEY: &str = concat!(
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgMYbhmga9RxwE03WXKFgZRgdinouJjzxfA6pNNS4iYgKhRANCAASd",
    "qTQV8D/JThQAfQCqZ20dveJO3O8tXBdOSbdrTooPxM14PWpA3BebgvdR8/7xBfZQIdA0trptZIMNBUkJVZwP",
);
/// Signed by [`CA`] for client authentication.
pub(super) const CLIENT: &str = concat!(
    "MIIBkjCCATegAwIBAgIBAzAKBggqhkjOPQQDAjASMRAwDgYDVQQDDAd0ZXN0IGNhMCAXDTIwMDEwMTAwMDAwMFoYDzIxMjAwMTAx",
    "MDAwMDAwWjARMQ8wDQYDVQQDDAZjbGllbnQwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAASenoHLOIAiYoPTm28yK61nzFEce9ji",
    "FTedgjJUbRBcE0kmYRZPp+KVUqyV0Ioz5nG1nuGYF5H30alz2qpyZ/J9o30wezAZBgNVHREEEjAQgg50b29scy5pbnRlcm5hbDAT",
    "BgNVHSUEDDAKBggrBgEFBQcDAjAJBgNVHRMEAjAAMB0GA1UdDgQWBBRnZ+IU44xWFEOq8NxoDv89u4IznTAfBgNVHSMEGDAWgBSg",
    "DcM4eKfgTAGnS1MK0pnq6WYDcTAKBggqhkjOPQQDAgNJADBGAiEA+Z50xg9yfqP9SwVkLIKy72S8S1+q03GlpvF0oQu/RVACIQD9",
    "6RyKn5KGduN8aIlEvXuNrpmsO+F0fSngPJuwDFw1Uw==",
);
/// Its key.
pub(super) const CLIENT_KEY: &str = concat!(
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgDMHtG0fhbIrMfWMevBuqmgJLgqP3cGZrQlRV3P8x8QuhRANCAASe",
    "noHLOIAiYoPTm28yK61nzFEce9jiFTedgjJUbRBcE0kmYRZPp+KVUqyV0Ioz5nG1nuGYF5H30alz2qpyZ/J9",
);

/// As a PEM block of this label.
pub(super) fn pem(label: &str, base64: &str) -> Vec<u8> {
    format!("-----BEGIN {label}-----\n{base64}\n-----END {label}-----\n").into_bytes()
}
