// SPDX-License-Identifier: Apache-2.0
#include "audit/query.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "audit/reader.h"
#include "audit/writer.h"
#include "base/clock.h"

namespace pinhole::audit {
namespace {

namespace fs = std::filesystem;

const auto kNow = parse_time("2026-11-23T12:00:00Z").value();

Entry denied(std::string method, std::string url, std::string code = "denied_by_policy",
             std::string rule = "default") {
  return {.kind = "decision",
          .method = std::move(method),
          .url = std::move(url),
          .rule = std::move(rule),
          .action = "deny",
          .code = std::move(code)};
}

std::string line_for(const std::vector<Entry>& entries) {
  DenialSummary summary;
  for (const Entry& entry : entries) summary.add(entry);
  const auto groups = summary.groups();
  return groups.size() == 1 ? groups[0].allow : fmt::format("{} groups", groups.size());
}

TEST(AuditEntry, ReadsWhatTheWriterFormats) {
  const std::vector<std::string> secrets{"KEY"};
  std::string line = format_record({.kind = Kind::end,
                                    .request = "r-1",
                                    .method = "GET",
                                    .url = "https://a.example/x",
                                    .rule = "p:1",
                                    .code = "timeout",
                                    .claim = {.program = "curl", .uid = 1000, .pid = 7},
                                    .secrets = secrets,
                                    .status = 504,
                                    .sent = 1,
                                    .received = 2,
                                    .duration = std::chrono::milliseconds(3)},
                                   {"web", "b"}, {.sequence = 9, .time = kNow});
  line.pop_back();
  const Entry entry = parse_entry(line).value();
  EXPECT_EQ(entry.sequence, 9U);
  EXPECT_EQ(entry.time, kNow);
  EXPECT_EQ(entry.kind + entry.vm + entry.boot + entry.request, "endwebbr-1");
  EXPECT_EQ(entry.claim.text(), "curl, uid 1000, pid 7");
  EXPECT_EQ(entry.secrets, secrets);
  EXPECT_EQ(entry.status, 504);
  EXPECT_EQ(entry.received, 2U);
  EXPECT_EQ(entry.milliseconds, 3.0);
  EXPECT_FALSE(parse_entry("{}"));
  EXPECT_FALSE(parse_entry("x"));
}

TEST(AuditEntry, HostOfWhateverAGuestWrote) {
  EXPECT_EQ(host_of("https://A.Example:8443/x"), "a.example");
  EXPECT_EQ(host_of("a.example:443"), "a.example");
  EXPECT_EQ(host_of("https://[2001:db8::1]:443/"), "2001:db8::1");
  EXPECT_EQ(host_of("[::1"), "::1");
  EXPECT_EQ(host_of(""), "");
  EXPECT_EQ(host_of("/path"), "");
  EXPECT_EQ(port_of("https://A.Example:8443/x:1"), 8443);
  EXPECT_EQ(port_of("https://a.example/x"), 443);
  EXPECT_EQ(port_of("http://[2001:db8::1]"), 80);
  EXPECT_EQ(port_of("[2001:db8::1]:22"), 22);
  EXPECT_EQ(port_of("a.example:443"), 443);
  for (const char* none : {"", "a.example", "a.example:", "a:65536", "[::1", "/path", "ftp://a/"})
    EXPECT_EQ(port_of(none), 0) << none;
}

TEST(AuditFilter, MatchesEachMemberAlone) {
  const Entry entry{.time = kNow,
                    .method = "GET",
                    .url = "https://api.a.example/x",
                    .rule = "p:1",
                    .action = "deny",
                    .code = "denied_by_policy"};
  EXPECT_TRUE(Filter{}.matches(entry));
  EXPECT_TRUE((Filter{.host = "API.a.example"}.matches(entry)));
  EXPECT_TRUE((Filter{.host = "*.a.example"}.matches(entry)));
  EXPECT_FALSE((Filter{.host = "a.example"}.matches(entry)));
  EXPECT_FALSE((Filter{.host = "*.api.a.example"}.matches(entry)));
  EXPECT_FALSE((Filter{.code = "timeout"}.matches(entry)));
  EXPECT_FALSE((Filter{.rule = "p:2"}.matches(entry)));
  EXPECT_FALSE((Filter{.action = "allow"}.matches(entry)));
  EXPECT_FALSE((Filter{.method = "POST"}.matches(entry)));
  EXPECT_TRUE((Filter{.since = kNow}.matches(entry)));
  EXPECT_FALSE((Filter{.until = kNow}.matches(entry)));
}

TEST(AuditMoment, IsAnAgeOrATime) {
  using namespace std::chrono_literals;
  EXPECT_EQ(parse_moment("10m", kNow).value(), kNow - 10min);
  EXPECT_EQ(parse_moment("2h", kNow).value(), kNow - 2h);
  EXPECT_EQ(parse_moment("2026-11-23T10:00", kNow).value(), kNow - 2h);
  EXPECT_EQ(parse_moment("2026-11-23T10:00:00Z", kNow).value(), kNow - 2h);
  EXPECT_EQ(parse_moment("2026-11-23", kNow).value(), kNow - 12h);
  for (const char* wrong : {"", "m", "-1m", "10", "10w", "2026-13-01", "99999999999h", "Z"})
    EXPECT_FALSE(parse_moment(wrong, kNow)) << wrong;
}

TEST(DenialSummary, NamesTheNarrowestLineThatAllowsWhatWasAsked) {
  EXPECT_EQ(line_for({denied("GET", "https://a.test/x?k=*"), denied("GET", "https://a.test/x")}),
            "allow:  - GET https://a.test/x");
  EXPECT_EQ(line_for({denied("GET", "https://a.test/x"), denied("GET", "https://a.test/y")}),
            "allow:  - GET https://a.test/**");
  EXPECT_EQ(line_for({denied("GET", "http://a.test:81/x"), denied("POST", "http://a.test:81/y")}),
            "allow:  - http://a.test:81/**");
  EXPECT_EQ(line_for({denied("CONNECT", "a.test:443")}), "allow:  - a.test");
  EXPECT_EQ(line_for({denied("CONNECT", "a.test:80"), denied("CONNECT", "a.test:443")}),
            "allow:  - a.test");
  EXPECT_EQ(line_for({denied("CONNECT", "a.test:8443")}), "allow:  - a.test:8443");
  EXPECT_EQ(line_for({denied("CONNECT", "a.test:5432")}), "allow:  - tcp://a.test:5432");
  EXPECT_EQ(line_for({denied("CONNECT", "[2001:db8::1]:443")}), "allow:  - \"[2001:db8::1]\"");
  EXPECT_EQ(line_for({denied("GET", "https://a.test/", "denied_by_policy", "p.yaml:7")}),
            "narrow the rule at p.yaml:7");
  EXPECT_EQ(line_for({denied("GET", "https://a.test/", "rate_limited", "p.yaml:7")}),
            "raise the limit of the rule at p.yaml:7");
  EXPECT_EQ(line_for({denied("GET", "", "invalid_request", "")}), "");
}

TEST(DenialSummary, NamesTheFlagThatAllowsTheHost) {
  const auto flag_for = [](const std::vector<Entry>& entries) {
    DenialSummary summary;
    for (const Entry& entry : entries) summary.add(entry);
    return summary.groups().at(0).flag;
  };
  EXPECT_EQ(flag_for({denied("GET", "https://a.test/x"), denied("POST", "http://a.test/y")}),
            "--allow a.test");
  EXPECT_EQ(flag_for({denied("CONNECT", "a.test:443")}), "--allow a.test");
  EXPECT_EQ(flag_for({denied("GET", "http://a.test:8080/x")}), "--allow a.test:8080");
  EXPECT_EQ(flag_for({denied("CONNECT", "git.test:22")}), "--allow tcp://git.test:22");
  EXPECT_EQ(flag_for({denied("CONNECT", "192.0.2.1:443")}), "--allow 192.0.2.1");
  EXPECT_EQ(flag_for({denied("CONNECT", "[2001:db8::1]:5432")}),
            "--allow 'tcp://[2001:db8::1]:5432'");
  // A rule that denies is not undone by a flag, and no flag widens what is no policy's.
  EXPECT_EQ(flag_for({denied("GET", "https://a.test/", "denied_by_policy", "p.yaml:7")}), "");
  EXPECT_EQ(flag_for({denied("GET", "https://a.test/", "ssrf_blocked")}), "");
  EXPECT_EQ(flag_for({denied("GET", "https://a';reboot'/")}), "");
  EXPECT_EQ(flag_for({denied("GET", "", "denied_by_policy")}), "");
}

TEST(DenialSummary, KeepsPortsApartAndNamesTheProgramsOnce) {
  DenialSummary summary;
  for (const char* program : {"curl", "curl", "", "pip", "npm", "go", "java"}) {
    Entry entry = denied("GET", "https://a.test/");
    entry.claim.program = program;
    summary.add(entry);
  }
  Entry ssh = denied("CONNECT", "a.test:22");
  ssh.note = "git over https";
  summary.add(ssh);
  const auto groups = summary.groups();
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].count, 7U);
  EXPECT_EQ(groups[0].port, 443);
  EXPECT_EQ(groups[0].programs, (std::vector<std::string>{"curl", "pip", "npm", "go"}));
  EXPECT_EQ(groups[1].port, 22);
  EXPECT_EQ(groups[1].advice, "git over https");
}

TEST(DenialSummary, CountsWhatWasCoalescedAndWhatEndedInARefusal) {
  DenialSummary summary;
  summary.add(denied("GET", "https://a.test/x"));
  Entry more = denied("GET", "https://a.test/x");
  more.count = 980;
  summary.add(more);
  summary.add({.kind = "end", .url = "https://b.test/", .rule = "p:1", .code = "ssrf_blocked"});
  summary.add({.kind = "end", .url = "https://c.test/", .rule = "p:1", .code = "timeout"});
  summary.add({.kind = "decision", .url = "https://d.test/", .action = "allow"});
  const auto groups = summary.groups();
  ASSERT_EQ(groups.size(), 2U);
  EXPECT_EQ(groups[0].count, 981U);
  EXPECT_EQ(groups[1].host, "b.test");
  EXPECT_EQ(groups[1].allow, "your own file, internal:  - b.test:PORT -> ADDRESS:PORT");
}

TEST(DenialSummary, IsBounded) {
  DenialSummary summary;
  for (int i = 0; i < 5000; ++i) summary.add(denied("GET", fmt::format("https://h{}.test/", i)));
  const auto groups = summary.groups();
  EXPECT_EQ(groups.size(), DenialSummary::kMostGroups + 1);
  EXPECT_EQ(groups[0].host, "(others)");
  EXPECT_EQ(groups[0].count, 4000U);
}

class BackwardLog : public testing::Test {
 protected:
  BackwardLog() {
    std::string name = (fs::temp_directory_path() / "audit-").string() + std::string(6, 'X');
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "audit.jsonl";
  }
  ~BackwardLog() override { fs::remove_all(folder_); }
  std::vector<std::uint64_t> sequences() const {
    auto reader = BackwardReader::open(path_).value();
    std::vector<std::uint64_t> out;
    while (const auto line = reader.next().value()) out.push_back(parse_entry(*line)->sequence);
    return out;
  }
  fs::path folder_;
  fs::path path_;
};

TEST_F(BackwardLog, GivesEveryRecordOnceOverAllFiles) {
  std::vector<std::uint64_t> expected;
  {
    auto writer = Writer::open(path_, {"web", "b"}, {.rotate_bytes = 300'000}).value();
    const std::string note(1500, 'n');
    for (int i = 0; i < 1000; ++i) {
      ASSERT_TRUE(writer.append({.note = note}));
      expected.insert(expected.begin(), writer.head().sequence);
    }
  }
  EXPECT_GE(find_files(path_)->numbers.size(), 4U);
  EXPECT_EQ(sequences(), expected);
  std::ofstream(path_, std::ios::app) << "{\"half";
  EXPECT_EQ(sequences(), expected);
  const auto files = find_files(path_).value();
  fs::rename(path_, files.numbered(files.numbers.back() + 1));
  EXPECT_EQ(sequences(), expected);
  std::ofstream(path_).flush();
  EXPECT_EQ(sequences(), expected);
}

TEST_F(BackwardLog, MissingOrEmptyLogIsToldApart) {
  EXPECT_EQ(BackwardReader::open(path_).error().message, "there is no audit log " + path_.string());
  std::ofstream(path_).flush();
  EXPECT_EQ(sequences().size(), 0U);
}

TEST_F(BackwardLog, DenialsAreThoseOfTheNewestBoot) {
  for (const char* boot : {"b-1", "b-2"}) {
    auto writer = Writer::open(path_, {"web", boot}).value();
    ASSERT_TRUE(writer.append({.kind = Kind::start}));
    ASSERT_TRUE(writer.append_denial({.method = "GET",
                                      .url = "https://a.test/" + std::string(boot),
                                      .rule = "default",
                                      .action = "deny",
                                      .code = "denied_by_policy"}));
    ASSERT_TRUE(writer.seal());
  }
  const auto groups = denials_of_last_boot(path_).value();
  ASSERT_EQ(groups.size(), 1U);
  EXPECT_EQ(groups[0].allow, "allow:  - GET https://a.test/b-2");
}

}  // namespace
}  // namespace pinhole::audit
