// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "audit/coalescer.h"
#include "audit/record.h"
#include "audit/verify.h"
#include "audit/writer.h"
#include "base/clock.h"
#include "base/strings.h"

namespace pinhole::audit {
namespace {

namespace fs = std::filesystem;
using std::chrono::steady_clock;

class AuditLog : public testing::Test {
 protected:
  AuditLog() {
    std::string name = (fs::temp_directory_path() / "audit-").string() + std::string(6, 'X');
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "audit.jsonl";
  }
  ~AuditLog() override { fs::remove_all(folder_); }

  Writer open(WriterLimits limits = {}) {
    return Writer::open(path_, {"web", "b-1"}, limits).value();
  }
  std::string content() const {
    std::ifstream in(path_);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  void write(std::string_view text) const { std::ofstream(path_) << text; }

  fs::path folder_;
  fs::path path_;
};

Record decision(std::string_view request) {
  return {.kind = Kind::decision,
          .request = request,
          .method = "GET",
          .url = "http://a.example/",
          .action = "allow"};
}
Record denial(std::string_view url) {
  return {.kind = Kind::decision,
          .method = "GET",
          .url = url,
          .action = "deny",
          .code = "denied_by_policy"};
}

TEST(AuditRecord, IsOneJsonLineWithEverythingInOrder) {
  const Record record{.kind = Kind::end,
                      .request = "r-9",
                      .method = "GET",
                      .url = "https://a.example/x",
                      .rule = "policy.yaml:4",
                      .action = "allow",
                      .address = "192.0.2.1:443",
                      .code = "timeout",
                      .policy = "sha256:ab",
                      .status = 504,
                      .sent = 1,
                      .received = 2,
                      .duration = std::chrono::microseconds(12345)};
  EXPECT_EQ(
      format_record(record, {"web", "b-1"},
                    {.sequence = 7, .time = parse_time("2026-11-22T17:36:22.862Z").value()}),
      R"({"v":1,"seq":7,"time":"2026-11-22T17:36:22.862Z","kind":"end","vm":"web","boot":"b-1",)"
      R"("request":"r-9","method":"GET","url":"https://a.example/x","rule":"policy.yaml:4",)"
      R"("action":"allow","address":"192.0.2.1:443","status":504,"sent":1,"received":2,"ms":12.345,)"
      R"("code":"timeout","policy":"sha256:ab",)"
      R"("prev":"0000000000000000000000000000000000000000000000000000000000000000"})"
      "\n");
}

TEST(AuditRecord, HostileTextCannotLeaveItsStringOrItsLine) {
  const std::string url = "http://a/\"\\\n\x1b[2J\xff" + std::string(100'000, 'x');
  const std::string line = format_record({.url = url}, {"", ""}, {});
  EXPECT_EQ(std::ranges::count(line, '\n'), 1);
  EXPECT_LE(line.size(), kLongestLine);
  EXPECT_NE(line.find(R"("url":"http://a/\"\\\\n\\x1b[2J\\xff)"), std::string::npos)
      << line.substr(0, 200);
  EXPECT_TRUE(parse_link(line.substr(0, line.size() - 1)).has_value());
}

TEST(AuditRecord, NamesSecretsDigestsAndWhatTheGuestClaims) {
  const std::vector<std::string> secrets{"API_KEY", "TO\"KEN"};
  const std::string line = format_record({.action = "intercept",
                                          .claim = {std::string(300, 'c'), 0, 4294967295},
                                          .secrets = secrets,
                                          .sent_digest = "ab",
                                          .received_digest = "cd",
                                          .sent = 1,
                                          .received = 2},
                                         {"", ""}, {.after = "audit.jsonl.3"});
  EXPECT_NE(
      line.find(
          R"("action":"intercept","claim":{"program":")" + std::string(64, 'c') +
          R"(…","uid":0,"pid":4294967295},"secrets":["API_KEY","TO\"KEN"],"sent":1,"sent_sha256":"ab",)"
          R"("received":2,"received_sha256":"cd","after":"audit.jsonl.3","prev")"),
      std::string::npos)
      << line;
  EXPECT_NE(format_record({.claim = {.pid = 7}}, {}, {}).find(R"("claim":{"pid":7},"prev")"),
            std::string::npos);
  const std::vector<std::string> many(kMostSecrets + 1, "A");
  EXPECT_NE(format_record({.secrets = many}, {}, {}).find(R"("A","…"])"), std::string::npos);
}

TEST(RedactUrl, KeepsThePathAndHidesUserinfoQueryValuesAndFragment) {
  EXPECT_EQ(redact_url("https://a.example/p/q?token=abc&b=&flag&c=d#frag"),
            "https://a.example/p/q?token=*&b=*&*&c=*");
  EXPECT_EQ(redact_url("http://user:pw@a.example:8080/x"), "http://a.example:8080/x");
  EXPECT_EQ(redact_url("http://a.example/x@y"), "http://a.example/x@y");
  EXPECT_EQ(redact_url("a.example:443"), "a.example:443");
  // A "://" behind the path's beginning starts no authority, and hides no query in front of it.
  EXPECT_EQ(redact_url("/login?token=abc&to=http://b.example/"), "/login?token=*&to=*");
  // Nor does what could be no scheme: user names are hidden on both sides.
  EXPECT_EQ(redact_url("user:pw@a://b.example/"), "a://b.example/");
  EXPECT_EQ(redact_url("h\xffttp://user:pw@b.example/"), "h\xffttp://b.example/");
  EXPECT_EQ(redact_url("user:pw@b.example:443"), "b.example:443");
  EXPECT_EQ(redact_url("a.example?token=abc&to=http://b.example/"), "a.example?token=*&to=*");
  EXPECT_EQ(redact_url("http://a.example/?"), "http://a.example/?");
  EXPECT_EQ(redact_url(std::string("http://a.example/?") + std::string(9000, '&')).size(),
            kLongestText + std::string_view("…").size());
}

TEST_F(AuditLog, ChainsRecordsAndVerifies) {
  Writer writer = open();
  ASSERT_TRUE(writer.append({.kind = Kind::start, .policy = "sha256:ab"}));
  ASSERT_TRUE(writer.append(decision("r-1")));
  ASSERT_TRUE(writer.seal());
  const auto summary = verify_file(path_).value();
  EXPECT_EQ(summary.records, 3U);
  EXPECT_EQ(summary.boots, 1U);
  EXPECT_TRUE(summary.sealed);
  EXPECT_EQ(summary.head, writer.head());
}

TEST_F(AuditLog, ReopenedContinuesSequenceAndChain) {
  {
    ASSERT_TRUE(open().append(decision("r-1")));
  }
  Writer again = open();
  EXPECT_EQ(again.head().sequence, 1U);
  ASSERT_TRUE(again.append(decision("r-2")));
  EXPECT_EQ(verify_file(path_).value().head, (again.head()));
  EXPECT_FALSE(verify_file(path_).value().sealed);
}

TEST_F(AuditLog, HalfLineIsSetAsideAndNamedInTheNextRecord) {
  {
    ASSERT_TRUE(open().append(decision("r-1")));
  }
  const std::string whole = content();
  write(whole + R"({"v":1,"seq":2,"ti)");
  Writer writer = open();
  EXPECT_EQ(content(), whole);
  ASSERT_TRUE(writer.append(decision("r-2")));
  EXPECT_NE(content().find("a half line of 18 bytes"), std::string::npos);
  EXPECT_TRUE(verify_file(path_).has_value());
  EXPECT_EQ(fs::file_size(path_.string() + ".torn"), 19U);
}

TEST_F(AuditLog, LogThatIsOnlyAHalfLineStartsAnew) {
  write("{\"v\":1");
  Writer writer = open();
  ASSERT_TRUE(writer.append(decision("r-1")));
  EXPECT_EQ(verify_file(path_).value().records, 1U);
}

TEST_F(AuditLog, FileThatIsNoAuditLogIsLeftAlone) {
  write("hello\n");
  const auto writer = Writer::open(path_, {"web", "b"});
  ASSERT_FALSE(writer);
  EXPECT_EQ(writer.error().message,
            "cannot continue the audit log " + path_.string() +
                ": its last line is damaged: the line is not a JSON object");
  EXPECT_EQ(content(), "hello\n");
}

TEST_F(AuditLog, IsHeldByOneProcess) {
  const Writer writer = open();
  const auto second = Writer::open(path_, {"web", "b"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message,
            "cannot open the audit log " + path_.string() + ": another process is writing it");
}

TEST_F(AuditLog, FullDeviceIsAnErrorWithItsCode) {
  Writer writer = Writer::open("/dev/full", {"web", "b"}).value();
  const auto appended = writer.append(decision("r-1"));
  ASSERT_FALSE(appended);
  EXPECT_EQ(appended.error().code, "audit_unavailable");
  EXPECT_EQ(appended.error().message, "cannot write to the audit log: No space left on device");
  EXPECT_EQ(writer.head().sequence, 0U);
}

TEST_F(AuditLog, HalfWrittenRecordIsTakenBack) {
  Writer writer = open();
  ASSERT_TRUE(writer.append(decision("r-1")));
  const std::string before = content();
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old = {};
  ::getrlimit(RLIMIT_FSIZE, &old);
  const rlimit tight{.rlim_cur = before.size() + 10, .rlim_max = old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &tight);
  const auto refused = writer.append(decision("r-2"));
  ::setrlimit(RLIMIT_FSIZE, &old);
  EXPECT_FALSE(refused);
  EXPECT_EQ(content(), before);
  ASSERT_TRUE(writer.append(decision("r-3")));
  EXPECT_EQ(verify_file(path_).value().records, 2U);
}

TEST_F(AuditLog, SizeAndRateLimitsFailClosed) {
  Writer small = open({.total_bytes = 400});
  EXPECT_TRUE(small.append(decision("r-1")));
  const auto over = small.append(decision("r-2"));
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().message, "the audit log has reached its limit of 400 bytes");
  EXPECT_EQ(over.error().code, "audit_unavailable");
  fs::remove(path_);
  Writer slow = open({.records_per_second = 2});
  EXPECT_TRUE(slow.append(decision("r-1")));
  EXPECT_TRUE(slow.append(decision("r-2")));
  EXPECT_FALSE(slow.append(decision("r-3")));
}

TEST_F(AuditLog, RepeatedDenialsBecomeOneRecordWithTheirCount) {
  Writer writer = open();
  for (int i = 0; i < 1000; ++i) ASSERT_TRUE(writer.append_denial(denial("http://b.example/")));
  ASSERT_TRUE(writer.append_denial(denial("http://c.example/")));
  EXPECT_EQ(writer.records_written(), DenialCoalescer::kInFull + 1);
  ASSERT_TRUE(writer.seal());
  EXPECT_NE(
      content().find(
          R"("kind":"denied-coalesced","vm":"web","boot":"b-1","method":"GET",)"
          R"("url":"http://b.example/","action":"deny","code":"denied_by_policy","count":980)"),
      std::string::npos);
  EXPECT_TRUE(verify_file(path_).value().sealed);
}

TEST(DenialCoalescer, CountsAgainInEachWindowAndForgetsTheOldestKind) {
  DenialCoalescer coalescer;
  std::vector<CoalescedDenials> due;
  const auto start = steady_clock::now();
  for (std::uint64_t i = 0; i < DenialCoalescer::kInFull + 5; ++i) {
    EXPECT_EQ(coalescer.admit({"GET", "u", "", "c"}, start, due), i < DenialCoalescer::kInFull);
  }
  EXPECT_TRUE(coalescer.take_expired(start + std::chrono::seconds(9)).empty());
  const auto expired = coalescer.take_expired(start + DenialCoalescer::kWindow);
  ASSERT_EQ(expired.size(), 1U);
  EXPECT_EQ(expired[0].count, 5U);
  for (std::size_t i = 0; i < 10 * DenialCoalescer::kKinds; ++i) {
    EXPECT_TRUE(coalescer.admit({"GET", std::to_string(i), "", "c"}, start, due));
  }
  EXPECT_TRUE(due.empty());
}

/// Three good lines, for tests that damage one.
std::vector<std::string> three_lines() {
  std::vector<std::string> lines;
  std::string previous(kNoPrevious);
  for (std::uint64_t i = 1; i <= 3; ++i) {
    lines.push_back(format_record({.request = std::to_string(i)}, {"web", "b"},
                                  {.sequence = i, .previous = previous}));
    previous = sha256_hex(std::string_view(lines.back()).substr(0, lines.back().size() - 1));
  }
  return lines;
}
std::string join(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line;
  return text;
}
std::string verify_error(const std::string& text) {
  const auto result = verify_text(text);
  return result ? "" : result.error().message;
}

TEST(AuditVerify, AcceptsWhatTheWriterFormats) {
  EXPECT_EQ(verify_text(join(three_lines())).value().records, 3U);
  EXPECT_EQ(verify_text("").value().head.sequence, 0U);
}

TEST(AuditVerify, NamesTheLineThatWasChangedRemovedOrCut) {
  auto changed = three_lines();
  changed[1].replace(changed[1].find("\"request\":\"2\""), 13, "\"request\":\"9\"");
  EXPECT_TRUE(verify_error(join(changed)).starts_with("line 3: \"prev\" is "));

  auto removed = three_lines();
  removed.erase(removed.begin() + 1);
  EXPECT_EQ(verify_error(join(removed)), "line 2: sequence number 3 where 2 follows");

  const std::string text = join(three_lines());
  EXPECT_TRUE(verify_error(text.substr(0, text.size() - 1))
                  .starts_with("line 3: the line is cut off after "));
  EXPECT_EQ(verify_error("\n"), "line 1: the line is not a JSON object");
  EXPECT_EQ(verify_error("{\"v\":2,\"seq\":1,\"kind\":\"x\",\"prev\":\"\"}\n"),
            "line 1: the record has version 2, this program knows version 1");
  EXPECT_EQ(verify_error(std::string(kLongestLine + 1, 'x') + "\n"),
            fmt::format("line 1: the line is longer than {} bytes", kLongestLine));
}

}  // namespace
}  // namespace pinhole::audit
