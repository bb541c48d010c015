// SPDX-License-Identifier: Apache-2.0
#include "dns/message.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace pinhole::dns {
namespace {

using namespace std::string_literals;

Bytes bytes_of(const std::string& text) {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

std::expected<Query, Fault> parse(const std::string& message) {
  return parse_query(bytes_of(message));
}

std::optional<Code> code_of(const std::string& message) {
  const auto query = parse(message);
  return query ? std::nullopt : query.error().code;
}

/// The header with these counts, id 7, recursion desired.
std::string header(char questions = 1, char additional = 0) {
  return "\0\7\1\0\0"s + questions + "\0\0\0\0\0"s + additional;
}
const std::string kAsks = "\0\1\0\1"s;  // A, IN

TEST(Query, IsReadWithItsNameTypeAndSpelling) {
  const auto query = parse(build_query(0x1234, "Example.COM", Type::aaaa));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->id, 0x1234);
  EXPECT_EQ(query->name, "Example.COM");
  EXPECT_TRUE(query->is_host_name && query->is_internet && query->recursion_desired);
  EXPECT_EQ(query->type, Type::aaaa);
  EXPECT_FALSE(query->udp_bytes);
  EXPECT_EQ(udp_limit(*query), 512U);
}

TEST(Query, OfTheRootHasAnEmptyName) {
  const auto query = parse(build_query(1, "", Type::a));
  ASSERT_TRUE(query);
  EXPECT_EQ(query->name, "");
  EXPECT_FALSE(query->is_host_name);
}

TEST(Query, WithEdnsTellsItsSizeWithinBounds) {
  EXPECT_EQ(udp_limit(*parse(build_query(1, "a.b", Type::a, 1000))), 1000U);
  EXPECT_EQ(udp_limit(*parse(build_query(1, "a.b", Type::a, 65535))), 1232U);
  EXPECT_EQ(udp_limit(*parse(build_query(1, "a.b", Type::a, 0))), 512U);
}

TEST(Query, WithADotOrABlankInALabelIsNoHostName) {
  for (const std::string& label : {"\3a.b"s, "\3a b"s, "\3a\0b"s}) {
    const auto query = parse(header() + label + "\3com\0"s + kAsks);
    ASSERT_TRUE(query);
    EXPECT_FALSE(query->is_host_name);
  }
  EXPECT_TRUE(parse(header() + "\3a-b\3com\0"s + kAsks)->is_host_name);
}

TEST(Query, ThatIsTooShortOrAnAnswerDeservesNoAnswer) {
  EXPECT_EQ(code_of(""), std::nullopt);
  EXPECT_EQ(code_of(header().substr(0, 11)), std::nullopt);
  std::string answer = build_query(1, "a.b", Type::a);
  ASSERT_TRUE(parse(answer));
  answer[2] = static_cast<char>(0x81);
  ASSERT_FALSE(parse(answer));
  EXPECT_EQ(code_of(answer), std::nullopt);
}

TEST(Query, OfAnotherKindIsNotImplemented) {
  std::string notify = build_query(1, "a.b", Type::a);
  notify[2] = 0x20;
  EXPECT_EQ(code_of(notify), Code::not_implemented);
  EXPECT_EQ(build_answer(parse(notify).error()), "\0\1\xA0\4\0\0\0\0\0\0\0\0"s);
}

TEST(Query, WithNoOrTwoQuestionsIsMalformed) {
  const std::string question = "\1a\1b\0"s + kAsks;
  EXPECT_TRUE(parse(header(1) + question));
  EXPECT_EQ(code_of(header(0)), Code::format_error);
  EXPECT_EQ(code_of(header(2) + question + question), Code::format_error);
}

TEST(Query, CutAnywhereIsMalformed) {
  const std::string whole = build_query(1, "example.com", Type::a, 1232);
  ASSERT_TRUE(parse(whole));
  for (std::size_t size = 12; size < whole.size(); ++size)
    EXPECT_EQ(code_of(whole.substr(0, size)), Code::format_error) << size;
}

TEST(Query, WithPointersThatDoNotEndIsMalformed) {
  EXPECT_EQ(code_of(header() + "\xC0\x0C"s + kAsks), Code::format_error);     // itself
  EXPECT_EQ(code_of(header() + "\1a\xC0\x0C"s + kAsks), Code::format_error);  // its begin
  EXPECT_EQ(code_of(header() + "\xC0\x20"s + kAsks), Code::format_error);     // ahead
  EXPECT_EQ(code_of(header() + "\x40zz\0"s + kAsks), Code::format_error);     // no label
  // Backwards it may lead, even where no name was meant: the header's zeros are the root's name.
  EXPECT_TRUE(parse(header() + "\1a\xC0\x04"s + kAsks));
}

TEST(Query, WithANameOfMoreThan255BytesIsMalformed) {
  const std::string label = "\x3F" + std::string(63, 'x');
  const std::string rest = "\x3D" + std::string(61, 'y');
  const auto longest = parse(header() + label + label + label + rest + "\0"s + kAsks);
  ASSERT_TRUE(longest);
  EXPECT_EQ(longest->name.size(), 253U);
  EXPECT_TRUE(longest->is_host_name);
  EXPECT_EQ(code_of(header() + label + label + label + label + "\0"s + kAsks), Code::format_error);
}

TEST(Query, OfANewerEdnsGetsBadVersion) {
  const std::string opt = "\0\0\x29\4\xD0\0\1\0\0\0\0"s;
  const std::string question = "\1a\1b\0"s + kAsks;
  EXPECT_EQ(code_of(header(1, 1) + question + opt), Code::bad_version);
  EXPECT_EQ(build_answer(parse(header(1, 1) + question + opt).error()),
            "\0\7\x81\0\0\0\0\0\0\0\0\1"s + "\0\0\x29\4\xD0\1\0\0\0\0\0"s);
}

TEST(Query, WithTwoEdnsRecordsIsMalformed) {
  const std::string opt = "\0\0\x29\4\xD0\0\0\0\0\0\0"s;
  const std::string question = "\1a\1b\0"s + kAsks;
  EXPECT_TRUE(parse(header(1, 1) + question + opt));
  EXPECT_EQ(code_of(header(1, 2) + question + opt + opt), Code::format_error);
  EXPECT_EQ(code_of(header(1, 9) + question), Code::format_error);
}

TEST(Answer, HasTheQuestionAndTheAddress) {
  const auto query = parse(build_query(7, "a.b", Type::a));
  const Answer answer{.records = {A{{198, 18, 1, 2}}}, .ttl = 300};
  EXPECT_EQ(build_answer(*query, answer, 512), "\0\7\x85\x80\0\1\0\1\0\0\0\0"s +
                                                   "\1a\1b\0\0\1\0\1"s +
                                                   "\xC0\x0C\0\1\0\1\0\0\1\x2C\0\4\xC6\x12\1\2"s);
}

TEST(Answer, KeepsTheAskersSpellingAndSpeaksEdnsBack) {
  const auto query = parse(build_query(7, "A.b", Type::aaaa, 4096));
  const Answer answer{.records = {Aaaa{{0xFD, 1}}}, .ttl = 1};
  EXPECT_EQ(build_answer(*query, answer, 512),
            "\0\7\x85\x80\0\1\0\1\0\0\0\1"s + "\1A\1b\0\0\x1C\0\1"s +
                "\xC0\x0C\0\x1C\0\1\0\0\0\1\0\x10\xFD\1"s + std::string(14, '\0') +
                "\0\0\x29\4\xD0\0\0\0\0\0\0"s);
}

TEST(Answer, WithoutRecordsSaysForHowLongByAnSoa) {
  const auto query = parse(build_query(7, "a.b", Type::a));
  const std::string soa = "\0\0\6\0\1\0\0\0\x3C\0\x35\7pinhole\7invalid\0\6nobody\7invalid\0"s +
                          "\0\0\0\1\0\0\x0E\x10\0\0\2\x58\0\1\x51\x80\0\0\0\x3C"s;
  EXPECT_EQ(build_answer(*query, {.code = Code::name_error, .ttl = 60}, 512),
            "\0\7\x85\x83\0\1\0\0\0\1\0\0"s + "\1a\1b\0\0\1\0\1"s + soa);
  EXPECT_EQ(build_answer(*query, {.ttl = 60}, 512),
            "\0\7\x85\x80\0\1\0\0\0\1\0\0"s + "\1a\1b\0\0\1\0\1"s + soa);
  EXPECT_EQ(build_answer(*query, {.code = Code::server_failure}, 512),
            "\0\7\x85\x82\0\1\0\0\0\0\0\0"s + "\1a\1b\0\0\1\0\1"s);
}

TEST(Answer, ThatDoesNotFitIsTruncated) {
  const auto query = parse(build_query(7, "a.b", Type::ptr));
  const Answer answer{.records = {Ptr{std::string(63, 'x') + ".example"}}, .ttl = 1};
  const std::string whole = build_answer(*query, answer, 512);
  EXPECT_EQ(build_answer(*query, answer, whole.size()), whole);
  EXPECT_EQ(build_answer(*query, answer, whole.size() - 1),
            "\0\7\x87\x80\0\1\0\0\0\0\0\0"s + "\1a\1b\0\0\x0C\0\1"s);
}

TEST(HostName, IsLettersDigitsAndHyphensInLabels) {
  for (const char* name : {"a", "example.com", "_dmarc.example.com", "xn--bcher-kva.example",
                           "1.2.3.4.in-addr.arpa", "3com.com", "a.0b"})
    EXPECT_TRUE(is_host_name(name)) << name;
  for (const char* name : {"", ".", "a.", ".a", "a..b", "a b", "a/b", "a:1",
                           "b\xC3\xBC"
                           "cher.de",
                           "1.2.3.4", "127.1", "1", "0x7f", "a.0x7f"})
    EXPECT_FALSE(is_host_name(name)) << name;
  EXPECT_TRUE(is_host_name(std::string(63, 'x') + ".a"));
  EXPECT_FALSE(is_host_name(std::string(64, 'x') + ".a"));
}

TEST(Reverse, NamesStandForAddresses) {
  const auto v4 = reverse_address("4.3.18.198.IN-ADDR.arpa");
  ASSERT_TRUE(v4);
  EXPECT_EQ(std::get<A>(*v4).address, (std::array<std::uint8_t, 4>{198, 18, 3, 4}));
  std::string name = "1.";
  for (int i = 0; i < 29; ++i) name += "0.";
  const auto v6 = reverse_address(name + "d.F.ip6.arpa");
  ASSERT_TRUE(v6);
  EXPECT_EQ(std::get<Aaaa>(*v6).address,
            (std::array<std::uint8_t, 16>{0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}));
  for (const char* other : {"", "arpa", "3.18.198.in-addr.arpa", "256.3.18.198.in-addr.arpa",
                            "a.3.18.198.in-addr.arpa", "4.3.18.198.in-addr.example", "1.ip6.arpa"})
    EXPECT_FALSE(reverse_address(other)) << other;
  EXPECT_FALSE(reverse_address(name + "d.g.ip6.arpa"));
}

}  // namespace
}  // namespace pinhole::dns
