// SPDX-License-Identifier: Apache-2.0
#include "image/guest_authority.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/files.h"
#include "sys/process.h"

namespace pinhole::image {
namespace {

using ::testing::HasSubstr;
using ::testing::StartsWith;

constexpr std::string_view kCertificate =
    "-----BEGIN CERTIFICATE-----\nMIIB+first/line\nsecond==\n-----END CERTIFICATE-----\n";

/// The parts as Python's email package reads them, which cloud-init uses: "TYPE\nCONTENT\0" each.
std::string parts_of(const std::string& text) {
  auto ran = sys::run({.program = "/usr/bin/python3",
                       .args = {"-c",
                                "import sys,email\n"
                                "m=email.message_from_string(sys.stdin.read())\n"
                                "for p in m.get_payload():\n"
                                "  sys.stdout.buffer.write(p.get_content_type().encode()+b'\\n'+"
                                "p.get_payload(decode=True)+b'\\0')\n"}},
                      {.input = text});
  return ran ? ran->out : ran.error().message;
}

TEST(GuestAuthority, LeavesTheUsersPartAsItIs) {
  for (const std::string& user :
       {std::string("#cloud-config\nruncmd: [\"echo \xC3\xA4\"]\n--pinhole-part--\n"),
        std::string("#cloud-config\r\n"), "#cloud-config\n" + std::string(57 * 40, 'x'),
        std::string("#!/bin/sh\ntrue")}) {
    const std::string text = with_authority(user, kCertificate);
    EXPECT_THAT(text, StartsWith("Content-Type: multipart/mixed; "));
    const std::string parts = parts_of(text);
    EXPECT_THAT(parts, StartsWith("text/cloud-boothook\n#cloud-boothook\n#!/bin/sh\n"));
    EXPECT_THAT(parts,
                HasSubstr("<<'PINHOLE-END'\n" + std::string(kCertificate) + "PINHOLE-END\n"));
    const std::string type = user.starts_with("#!") ? "text/x-shellscript" : "text/cloud-config";
    EXPECT_TRUE(parts.ends_with(std::string(1, '\0') + type + "\n" + user + '\0')) << parts;
  }
}

TEST(GuestAuthority, HookIsAScriptThatAShellReads) {
  const std::string parts = parts_of(with_authority("#!/bin/sh\n", kCertificate));
  const std::size_t start = parts.find("#!/bin/sh");
  const auto ran = sys::run({.program = "/bin/sh", .args = {"-n"}},
                            {.input = parts.substr(start, parts.find('\0') - start)});
  ASSERT_TRUE(ran);
  EXPECT_TRUE(ran->status.ok()) << ran->err;
}

}  // namespace
}  // namespace pinhole::image
