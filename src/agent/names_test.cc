// SPDX-License-Identifier: Apache-2.0
#include "agent/names.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "sys/files.h"

namespace pinhole::agent {
namespace {

class NamesOfAGuest : public testing::Test {
 protected:
  sys::TempDir folder_ = sys::TempDir::make().value();
  std::filesystem::path file_ = folder_.path() / "names";
};

TEST_F(NamesOfAGuest, HaveAddressesThatLeadBackToThem) {
  Names names(file_);
  const auto address = names.address_of("Example.com");
  ASSERT_TRUE(address);
  EXPECT_EQ(names.name_of(*address), "example.com");
  EXPECT_EQ(names.address_of("eXAMPLE.COM"), address);
  EXPECT_NE(names.address_of("example.org"), address);
  EXPECT_EQ(names.size(), 2U);
  EXPECT_EQ((*address)[0], 198);
  EXPECT_TRUE((*address)[1] == 18 || (*address)[1] == 19);
}

TEST_F(NamesOfAGuest, HaveNoOtherAddresses) {
  const Names names(file_);
  for (const Address4& other :
       {Address4{198, 18, 0, 1}, Address4{198, 18, 0, 0}, Address4{198, 20, 0, 0},
        Address4{0, 0, 0, 0}, Address4{198, 19, 255, 255}, Address4{198, 18, 1, 0}})
    EXPECT_EQ(names.name_of(other), std::nullopt);
}

TEST_F(NamesOfAGuest, KeepTheirAddressesOverARestart) {
  std::vector<Address4> before;
  {
    Names names(file_);
    for (int i = 0; i < 200; ++i) before.push_back(*names.address_of(fmt::format("n{}.test", i)));
  }
  Names names(file_);
  EXPECT_EQ(names.size(), 200U);
  for (int i = 199; i >= 0; --i)
    EXPECT_EQ(names.address_of(fmt::format("n{}.test", i)), before[static_cast<std::size_t>(i)]);
  EXPECT_EQ(names.name_of(before[7]), "n7.test");
}

TEST_F(NamesOfAGuest, AreWhatTheFileSaysWhereItMakesSense) {
  std::ofstream(file_) << "198.18.7.7 moved.test\n"
                          "198.18.7.7 second.test\n"  // the address is taken
                          "198.18.7.8 moved.test\n"   // the name has one
                          "198.18.0.1 own.test\n"     // the guest's own
                          "8.8.8.8 elsewhere.test\n"  //
                          "198.18.7.9 two words\n"    //
                          "nonsense\n\n"              //
                          "198.18.7.10 cut-off.te";   // an agent that died here
  Names names(file_);
  EXPECT_EQ(names.size(), 1U);
  EXPECT_EQ(names.address_of("moved.test"), (Address4{198, 18, 7, 7}));
  EXPECT_EQ(names.name_of({198, 18, 7, 10}), std::nullopt);
  const auto next = names.address_of("next.test");
  EXPECT_EQ(Names(file_).address_of("next.test"), next);
  EXPECT_EQ(Names(file_).name_of(*next), "next.test");
}

TEST_F(NamesOfAGuest, ThatCannotBeWrittenDownAreKnownAllTheSame) {
  Names names(folder_.path() / "none" / "names");
  const auto address = names.address_of("a.test");
  ASSERT_TRUE(address);
  EXPECT_EQ(names.name_of(*address), "a.test");
}

TEST_F(NamesOfAGuest, AreBoundedInNumber) {
  Names names("/dev/null");
  std::set<Address4> seen;
  for (std::size_t i = 0; i < kNames; ++i) {
    const auto address = names.address_of(fmt::format("{}.a", i));
    ASSERT_TRUE(address);
    seen.insert(*address);
  }
  EXPECT_EQ(seen.size(), kNames);
  EXPECT_EQ(names.address_of("one-more.a"), std::nullopt);
  EXPECT_TRUE(names.address_of("17.a"));
}

TEST_F(NamesOfAGuest, AreBoundedInBytes) {
  Names names("/dev/null");
  const std::string tail = "." + std::string(60, 'x') + "." + std::string(60, 'x') + "." +
                           std::string(60, 'x') + "." + std::string(60, 'x');
  std::size_t count = 0;
  while (names.address_of(fmt::format("{:06}", count) + tail)) ++count;
  EXPECT_EQ(count, kNamesBytes / (6 + tail.size()));
}

TEST(MappedAddresses, LeadBothWays) {
  const Address4 v4{198, 18, 3, 4};
  const Address6 v6{0xFD, 0x50, 0x69, 0x6E, 0x68, 0x6F, 0x6C, 0x65, 0, 0, 0, 0, 198, 18, 3, 4};
  EXPECT_EQ(mapped_v6(v4), v6);
  EXPECT_EQ(unmapped_v4(v6), v4);
  EXPECT_EQ(unmapped_v4({0x20, 0x01, 0x0D, 0xB8}), std::nullopt);
}

}  // namespace
}  // namespace pinhole::agent
