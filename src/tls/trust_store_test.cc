// SPDX-License-Identifier: Apache-2.0
#include "tls/trust_store.h"

#include <gtest/gtest.h>

namespace pinhole::tls {
namespace {

// openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=t -days 36500
constexpr std::string_view kCertificate = R"(-----BEGIN CERTIFICATE-----
MIIBbzCCARWgAwIBAgIUMkfPJWzgvv6B+ExZsUlLk26pWVAwCgYIKoZIzj0EAwIw
DDEKMAgGA1UEAwwBdDAgFw0yNjExMjMwMzU0MzlaGA8yMTI2MTAzMDAzNTQzOVow
DDEKMAgGA1UEAwwBdDBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABMbOCccLRKs4
k3At3B69mJzL0NLRlmRwGmcKUyKzLprgtkL7tiCRIWtQWlpvqOF62YjJcsaquTTa
fTWKHhAFBt+jUzBRMB0GA1UdDgQWBBR4xpT/bxN58xdSRi2I3A4mix68zTAfBgNV
HSMEGDAWgBR4xpT/bxN58xdSRi2I3A4mix68zTAPBgNVHRMBAf8EBTADAQH/MAoG
CCqGSM49BAMCA0gAMEUCIQCY1q/FU0yCIuFneEIXon5WUqcW5sc7R7v6aJQZxkt1
GAIgQSrMPEFo1mZ5jwZWobblPJF5dVf+veE62+2ymHJSUSE=
-----END CERTIFICATE-----
)";

TEST(TrustStore, HostStoreOpens) { EXPECT_TRUE(TrustStore::host().has_value()); }

TEST(TrustStore, TakesCertificatesAndRefusesAnythingElse) {
  EXPECT_TRUE(TrustStore::host_and(kCertificate).has_value());
  EXPECT_TRUE(TrustStore::host_and(std::string(kCertificate) + "text between\n" +
                                   std::string(kCertificate)));
  EXPECT_EQ(TrustStore::host_and("").error().message, "there is no PEM certificate in it");
  EXPECT_EQ(TrustStore::host_and("hello").error().message, "there is no PEM certificate in it");
  const std::string cut = std::string(kCertificate.substr(0, 200));
  EXPECT_TRUE(TrustStore::host_and(std::string(kCertificate) + cut)
                  .error()
                  .message.starts_with("certificate 2 is damaged: "));
}

}  // namespace
}  // namespace pinhole::tls
