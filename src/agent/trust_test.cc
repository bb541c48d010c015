// SPDX-License-Identifier: Apache-2.0
#include "agent/trust.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "agent/guest_file.h"
#include "agent/trust_certificate.h"
#include "agent/trust_java.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

using testing::HasSubstr;

/// Made by openssl 3.0 with the subject "/O=Pinhole  Test/CN= The Authority".
constexpr std::string_view kPem =
    "-----BEGIN CERTIFICATE-----\n"
    "MIIBuTCCAV+gAwIBAgIUedGLDlKrvoYxWisukUPnASaJfecwCgYIKoZIzj0EAwIw\n"
    "MTEWMBQGA1UECgwNUGluaG9sZSAgVGVzdDEXMBUGA1UEAwwOIFRoZSBBdXRob3Jp\n"
    "dHkwIBcNMjYxMTIzMTcxMDA5WhgPMjEyNjEwMzAxNzEwMDlaMDExFjAUBgNVBAoM\n"
    "DVBpbmhvbGUgIFRlc3QxFzAVBgNVBAMMDiBUaGUgQXV0aG9yaXR5MFkwEwYHKoZI\n"
    "zj0CAQYIKoZIzj0DAQcDQgAE+U6MbFggXTgERSLUSexPX9+oyM1+MIrV8YTPCsVT\n"
    "A+Kh7uCubiWLujos/H2O6oG+X20sW/TEpvafj0Sz6TUXWqNTMFEwHQYDVR0OBBYE\n"
    "FP8HaeRTK6j470tD+iDU1uxTPHNUMB8GA1UdIwQYMBaAFP8HaeRTK6j470tD+iDU\n"
    "1uxTPHNUMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIhAL54bElT\n"
    "Fgw4ULb93Qxj4oWaOlWv3W9GCD05//8foQXLAiBl876fUhlcX+U6H+F94ZxgAkKL\n"
    "Qy+y2zrqY3F/7PPDMg==\n"
    "-----END CERTIFICATE-----\n";
constexpr std::string_view kOther =
    "-----BEGIN CERTIFICATE-----\nb3RoZXI=\n-----END CERTIFICATE-----\n";

TEST(Certificate, HasTheHashThatOpensslGivesIt) {
  const auto certificate = read_certificate(kPem);
  ASSERT_TRUE(certificate);
  EXPECT_EQ(certificate->subject_hash, "d00481ac");
  EXPECT_EQ(certificate->der.substr(0, 2), "\x30\x82");
}

TEST(Certificate, CutAnywhereIsNone) {
  for (const std::size_t cut : {5U, 40U, 100U, 300U}) {
    std::string pem(kPem);
    pem.erase(60, cut);
    EXPECT_FALSE(read_certificate(pem) && read_certificate(pem)->subject_hash == "d00481ac");
  }
  for (const std::string_view text : {std::string_view(), kPem.substr(0, 200), kOther})
    EXPECT_FALSE(read_certificate(text));
}

TEST(Bundle, HoldsTheAuthorityOnce) {
  EXPECT_EQ(with_certificate("", kPem, ""), kPem);
  const std::string both = std::string(kOther) + std::string(kPem);
  EXPECT_EQ(with_certificate(kOther, kPem, ""), both);
  EXPECT_EQ(with_certificate(both, kPem, kPem), both);
  EXPECT_EQ(with_certificate(both, kPem, kOther), kPem);  // of an earlier boot
}

TEST(TrustVariables, LeaveThoseOfTheUserAlone) {
  const std::string text = with_trust_variables("A=b\nexport PIP_CERT=/mine", "/bundle", "/anchor");
  EXPECT_THAT(text, HasSubstr("A=b\nexport PIP_CERT=/mine\nSSL_CERT_FILE=/bundle\n"));
  EXPECT_THAT(text, HasSubstr("NODE_EXTRA_CA_CERTS=/anchor\n"));
  EXPECT_THAT(text, testing::Not(HasSubstr("PIP_CERT=/bundle")));
  EXPECT_EQ(with_trust_variables(text, "/bundle", "/anchor"), text);
}

/// JKS with one trusted entry "a" (the certificate "der"), made by hand.
std::string keystore() {
  using namespace std::string_literals;
  return with_java_authority(
             "\xFE\xED\xFE\xED\0\0\0\2\0\0\0\0"s +
                 "\xE2\x68\x6E\x45\xFB\x43\xDF\xA4\xD9\x92\xDD\x41\xCE\xB6\xB2\x1C\x63"
                 "\x30\xD7\x92"s,
             "a", "der", 1)
      .value();
}

TEST(JavaKeystore, GetsAnEntryAndANewDigest) {
  const std::string one = keystore();
  EXPECT_EQ(with_java_authority(one, "a", "der", 2).value(), one);
  const std::string two = with_java_authority(one, "b", "other", 2).value();
  EXPECT_EQ(two.substr(8, 4), std::string("\0\0\0\2", 4));
  EXPECT_EQ(with_java_authority(two, "a", "der", 3).value(), two);
  const std::string changed = with_java_authority(two, "b", "newer", 4).value();
  EXPECT_EQ(changed.size(), two.size());
  EXPECT_THAT(changed, HasSubstr("newer"));
  EXPECT_THAT(changed, testing::Not(HasSubstr("other")));
}

TEST(JavaKeystore, OfAnotherKindIsRefused) {
  const std::string good = keystore();
  EXPECT_EQ(with_java_authority("\x30\x82", "a", "b", 1).error().message,
            "the keystore is not in the JKS format");
  for (std::size_t size = 8; size < good.size(); ++size)
    EXPECT_FALSE(with_java_authority(good.substr(0, size), "b", "c", 1)) << size;
  std::string damaged = good;
  damaged.back() = static_cast<char>(damaged.back() ^ 1);
  EXPECT_EQ(with_java_authority(damaged, "b", "c", 1).error().message,
            "the keystore has another password than changeit");
}

class Trust : public testing::Test {
 protected:
  void put(const std::string& file, std::string_view content) {
    std::filesystem::create_directories((root_ / file).parent_path());
    std::ofstream(root_ / file) << content;
  }
  std::string get(const std::string& file) { return guest_file(root_ / file); }

  sys::TempDir folder_ = sys::TempDir::make().value();
  std::filesystem::path root_ = folder_.path();
};

TEST_F(Trust, ReachesTheSystemsStoreOnce) {
  put("etc/ssl/certs/ca-certificates.crt", kOther);
  for (int boot = 0; boot < 2; ++boot) {
    EXPECT_THAT(install_authority(root_, kPem), testing::IsEmpty());
    EXPECT_EQ(get("etc/ssl/certs/ca-certificates.crt"), std::string(kOther) + std::string(kPem));
    EXPECT_EQ(get("usr/local/share/ca-certificates/pinhole.crt"), kPem);
    EXPECT_EQ(std::filesystem::read_symlink(root_ / "etc/ssl/certs/d00481ac.0"), "pinhole.pem");
    EXPECT_THAT(get("etc/environment"),
                HasSubstr("SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt\n"));
  }
  EXPECT_FALSE(std::filesystem::exists(root_ / "etc/chromium"));
}

TEST_F(Trust, ReachesBrowsersAndJavaWhereTheyAre) {
  put("usr/bin/chromium", "");
  put("usr/bin/firefox-esr", "");
  put("etc/ssl/certs/java/cacerts", keystore());
  EXPECT_THAT(install_authority(root_, kPem), testing::IsEmpty());
  EXPECT_THAT(get("etc/chromium/policies/managed/pinhole.json"),
              HasSubstr(read_certificate(kPem)->base64));
  EXPECT_THAT(get("etc/firefox/policies/policies.json"),
              HasSubstr("/usr/local/share/ca-certificates/pinhole.crt"));
  EXPECT_THAT(get("etc/ssl/certs/java/cacerts"), HasSubstr(read_certificate(kPem)->der));
}

TEST_F(Trust, TellsOfAStoreThatItCannotRead) {
  put("etc/ssl/certs/java/cacerts", "\x30\x82");
  EXPECT_THAT(
      install_authority(root_, kPem),
      testing::ElementsAre("/etc/ssl/certs/java/cacerts: the keystore is not in the JKS format"));
  EXPECT_EQ(get("etc/ssl/certs/java/cacerts"), "\x30\x82");
  EXPECT_EQ(get("etc/ssl/certs/ca-certificates.crt"), kPem);
}

TEST_F(Trust, InWhatIsNoCertificateChangesNothing) {
  EXPECT_THAT(install_authority(root_, "nonsense"),
              testing::ElementsAre("the authority that the host named is no certificate"));
  EXPECT_TRUE(std::filesystem::is_empty(root_));
}

TEST_F(Trust, LeadsGitToHttpsOnce) {
  put("etc/gitconfig", "[url \"https://gitlab.com/\"]\n\tinsteadOf = lab:");
  ASSERT_TRUE(lead_git_to_https(root_));
  const std::string written = get("etc/gitconfig");
  EXPECT_THAT(written, HasSubstr("lab:\n[url \"https://github.com/\"]\n\tinsteadOf = "
                                 "git@github.com:\n\tinsteadOf = ssh://git@github.com/\n"));
  EXPECT_THAT(written, testing::Not(HasSubstr("git@gitlab.com")));
  ASSERT_TRUE(lead_git_to_https(root_));
  EXPECT_EQ(get("etc/gitconfig"), written);
}

}  // namespace
}  // namespace pinhole::agent
