// SPDX-License-Identifier: Apache-2.0
#include "secret/headers.h"

#include <gtest/gtest.h>

namespace pinhole::secret {
namespace {

using Headers = std::vector<http::Header>;

TEST(SecretHeaders, AskForPlainBytes) {
  Headers request = {{"Accept-Encoding", "gzip, br"},
                     {"Range", "bytes=1-"},
                     {"If-Range", "\"x\""},
                     {"Accept", "*/*"},
                     {"accept-encoding", "zstd"}};
  ask_for_plain_bytes(request);
  EXPECT_EQ(request, (Headers{{"Accept", "*/*"}, {"accept-encoding", "identity"}}));
}

TEST(SecretHeaders, KnowAnEncodedAnswer) {
  EXPECT_FALSE(is_encoded({{"content-type", "gzip"}}));
  EXPECT_FALSE(is_encoded({{"Content-Encoding", "Identity"}, {"content-encoding", ""}}));
  EXPECT_TRUE(is_encoded({{"Content-Encoding", "gzip"}}));
  EXPECT_TRUE(is_encoded({{"content-encoding", "identity, br"}}));
}

TEST(SecretHeaders, AreMaskedInNameAndValue) {
  const std::vector<MaskTable::Entry> entries = {{"0123456789abcdef", "PINHOLE_x"}};
  const MaskTable table(entries);
  Headers headers = {{"set-cookie", "a=0123456789abcdef; Path=/"}, {"x-0123456789abcdef", "y"}};
  EXPECT_TRUE(mask_headers(table, headers));
  EXPECT_EQ(headers, (Headers{{"set-cookie", "a=PINHOLE_x; Path=/"}, {"x-PINHOLE_x", "y"}}));
  EXPECT_FALSE(mask_headers(table, headers));
}

TEST(SecretHeaders, SayNothingAboutOtherBytes) {
  Headers response = {{"ETag", "\"1\""},          {"Content-Type", "text/html"},
                      {"Content-Length", "5"},    {"Repr-Digest", "sha-256=:x:"},
                      {"Accept-Ranges", "bytes"}, {"Last-Modified", "x"}};
  drop_fields_about_bytes(response);
  EXPECT_EQ(response, (Headers{{"Content-Type", "text/html"}, {"Last-Modified", "x"}}));
}

}  // namespace
}  // namespace pinhole::secret
