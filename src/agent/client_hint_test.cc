// SPDX-License-Identifier: Apache-2.0
#include "agent/client_hint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::agent {
namespace {

TEST(Hints, SayWhatIsKnownAndNothingThatMisleads) {
  EXPECT_EQ(hint_text({}), "");
  EXPECT_EQ(hint_text({.uid = 0}), "uid=0");
  EXPECT_EQ(hint_text({.uid = 1000, .pid = 12, .program = "node"}),
            "program=\"node\"; uid=1000; pid=12");
  EXPECT_EQ(hint_text({.uid = 1, .pid = 2, .program = "a\"; uid=0\r\nX: \xC3\xA4"}),
            "program=\"a__ uid_0__X: __\"; uid=1; pid=2");
}

Address6 v4(std::uint8_t a, std::uint8_t b, std::uint8_t c, std::uint8_t d) {
  return {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, a, b, c, d};
}

// As Linux 6.18 wrote them; the client is 198.18.0.1 (::1), the destination 192.0.2.7 port 8080.
constexpr std::string_view kTcp =
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout "
    "inode\n"
    "   1: 070200C0:1F90 010012C6:9D48 01 00000000:00000000 00:00000000 00000000     0        0 0 "
    "1 0 20\n"
    "   2: 010012C6:9D48 070200C0:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 "
    "21734596 2 0\n";
constexpr std::string_view kTcp6 =
    "   1: 00000000000000000000000001000000:AC1C B80D0120000000000000000007000000:1F90 01 "
    "00000000:00000000 00:00000000 00000000     7        0 21734599 2 0\n"
    "   1: 0000000000000000FFFF0000010012C6:916E 0000000000000000FFFF0000080200C0:1F90 01 "
    "00000000:00000000 00:00000000 00000000     8        0 21734601 2 0\n";

TEST(SocketTable, HasTheClientsEndOfAConnection) {
  EXPECT_EQ(find_in_table(kTcp, {v4(198, 18, 0, 1), 40264, v4(192, 0, 2, 7), 8080}),
            (ClientSocket{.uid = 1000, .inode = 21734596}));
  EXPECT_EQ(find_in_table(kTcp, {v4(198, 18, 0, 1), 40265, v4(192, 0, 2, 7), 8080}), std::nullopt);
}

TEST(SocketTable, HasIPv6AndWhatSpeaksIPv4OverIt) {
  const Address6 one{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  const Address6 far{0x20, 0x01, 0x0D, 0xB8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7};
  EXPECT_EQ(find_in_table(kTcp6, {one, 0xAC1C, far, 8080}),
            (ClientSocket{.uid = 7, .inode = 21734599}));
  EXPECT_EQ(find_in_table(kTcp6, {v4(198, 18, 0, 1), 0x916E, v4(192, 0, 2, 8), 8080}),
            (ClientSocket{.uid = 8, .inode = 21734601}));
}

TEST(SocketTable, ThatIsCutHasNothing) {
  const ConnectionEnds ends{v4(198, 18, 0, 1), 40264, v4(192, 0, 2, 7), 8080};
  const auto end = kTcp.find(" 21734596");
  for (std::size_t size = 0; size < end; size += 3)
    EXPECT_EQ(find_in_table(kTcp.substr(0, size), ends), std::nullopt) << size;
}

}  // namespace
}  // namespace pinhole::agent
