// SPDX-License-Identifier: Apache-2.0
// A log of several files: one chain, whatever moment a kill chooses.
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>

#include <gtest/gtest.h>

#include "audit/files.h"
#include "audit/verify.h"
#include "audit/writer.h"

namespace pinhole::audit {
namespace {

namespace fs = std::filesystem;

class Rotation : public testing::Test {
 protected:
  Rotation() {
    std::string name = (fs::temp_directory_path() / "audit-").string() + std::string(6, 'X');
    folder_ = ::mkdtemp(name.data());
    path_ = folder_ / "audit.jsonl";
  }
  ~Rotation() override { fs::remove_all(folder_); }

  Writer open(WriterLimits limits = {.rotate_bytes = 1}) const {
    return Writer::open(path_, {"web", "b-1"}, limits).value();
  }
  fs::path numbered(int number) const { return path_.string() + "." + std::to_string(number); }
  static std::string content(const fs::path& path) {
    std::ifstream in(path);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  std::string error() const {
    const auto summary = verify_log(path_);
    return summary ? "" : summary.error().message;
  }
  /// Each record in a file of its own.
  Head write(int records) const {
    Writer writer = open();
    for (int i = 0; i < records; ++i) EXPECT_TRUE(writer.append({.request = "r"}));
    return writer.head();
  }

  fs::path folder_;
  fs::path path_;
};

TEST_F(Rotation, KeepsOneChainOverItsFiles) {
  const Head head = write(12);
  EXPECT_TRUE(fs::exists(numbered(11)));
  EXPECT_FALSE(fs::exists(numbered(12)));
  const auto summary = verify_log(path_).value();
  EXPECT_EQ(summary.records, 12U);
  EXPECT_EQ(summary.files, 12U);
  EXPECT_EQ(summary.head, head);
  EXPECT_NE(content(path_).find(R"("seq":12,)"), std::string::npos);
  EXPECT_NE(content(path_).find(R"("after":"audit.jsonl.11")"), std::string::npos);
  EXPECT_EQ(content(numbered(1)).find("after"), std::string::npos);
}

TEST_F(Rotation, WaitsForTheSize) {
  Writer writer = open({.rotate_bytes = 1000});
  while (!fs::exists(numbered(1))) ASSERT_TRUE(writer.append({.request = "r"}));
  EXPECT_GE(fs::file_size(numbered(1)), 1000U);
  EXPECT_LT(fs::file_size(numbered(1)), 1400U);
  EXPECT_EQ(error(), "");
}

TEST_F(Rotation, KilledAfterTheRenameGoesOn) {
  write(2);
  fs::rename(path_, numbered(2));
  EXPECT_EQ(error(), "");  // also before the next start
  EXPECT_EQ(write(1).sequence, 3U);
  EXPECT_EQ(error(), "");
  EXPECT_NE(content(path_).find(R"("after":"audit.jsonl.2")"), std::string::npos);
}

TEST_F(Rotation, KilledBeforeTheFirstRecordOfTheNewFileGoesOn) {
  write(2);
  fs::rename(path_, numbered(2));
  std::ofstream(path_).flush();
  EXPECT_EQ(error(), "");
  EXPECT_EQ(write(1).sequence, 3U);
  EXPECT_EQ(verify_log(path_).value().records, 3U);
}

TEST_F(Rotation, KilledWithinTheFirstRecordOfTheNewFileGoesOn) {
  write(2);
  fs::rename(path_, numbered(2));
  std::ofstream(path_) << R"({"v":1,"seq":3,)";
  EXPECT_EQ(verify_log(path_).value().torn_bytes, 15U);
  EXPECT_EQ(write(1).sequence, 3U);
  EXPECT_EQ(verify_log(path_).value().torn_bytes, 0U);
  EXPECT_NE(content(path_).find("a half line of 15 bytes"), std::string::npos);
  EXPECT_NE(content(path_).find(R"("after":"audit.jsonl.2")"), std::string::npos);
}

TEST_F(Rotation, HalfLineAtTheEndOfTheFileBeforeIsSetAsideToo) {
  write(2);
  fs::rename(path_, numbered(2));
  std::ofstream(numbered(2), std::ios::app) << "{\"v\"";
  EXPECT_EQ(write(1).sequence, 3U);
  EXPECT_EQ(error(), "");
}

TEST_F(Rotation, TotalOfAllFilesIsLimited) {
  std::uint64_t size = 0;
  {
    write(3);
    size = find_files(path_).value().bytes_before + fs::file_size(path_);
  }
  Writer writer = open({.total_bytes = size + 10, .rotate_bytes = 1});
  const auto over = writer.append({.request = "r"});
  ASSERT_FALSE(over);
  EXPECT_EQ(over.error().code, "audit_unavailable");
}

TEST_F(Rotation, FileThatCannotBeFollowedGoesOn) {
  Writer writer = open();
  ASSERT_TRUE(writer.append({.request = "r"}));
  fs::create_directory(numbered(1));  // takes the name
  ASSERT_TRUE(writer.append({.request = "r"}));
  EXPECT_NE(content(path_).find("the log could not be rotated: cannot rename it to audit.jsonl.1"),
            std::string::npos);
  fs::remove(numbered(1));
  ASSERT_TRUE(writer.append({.request = "r"}));
  EXPECT_TRUE(fs::exists(numbered(1)));
  EXPECT_EQ(verify_log(path_).value().records, 3U);
}

TEST_F(Rotation, SharedFolderGetsNoFurtherFiles) {
  std::ofstream(folder_ / "policy.yaml") << "x";
  Writer writer = open();
  EXPECT_EQ(writer.folder(), -1);
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(writer.append({.request = "r"}));
  EXPECT_EQ(verify_log(path_).value().files, 1U);
}

TEST_F(Rotation, IsHeldByOneProcessAlsoHalfWayThrough) {
  Writer writer = open();
  ASSERT_TRUE(writer.append({.request = "r"}));
  fs::rename(path_, numbered(1));
  const auto second = Writer::open(path_, {"web", "b"});
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().message, "cannot continue the audit log " + path_.string() +
                                        ": another process is writing audit.jsonl.1");
}

TEST_F(Rotation, VerifyNamesTheFileAndTheLine) {
  write(3);
  std::string text = content(numbered(2));
  text.replace(text.find("\"r\""), 3, "\"q\"");
  std::ofstream(numbered(2)) << text;
  EXPECT_TRUE(error().starts_with(path_.string() + ": line 1: \"prev\" is ")) << error();
  fs::remove(numbered(2));
  EXPECT_TRUE(error().starts_with(path_.string() + ": line 1: sequence number 3")) << error();
  fs::rename(numbered(1), numbered(2));
  EXPECT_EQ(error(), numbered(1).string() + " is missing: records are not here");
}

TEST_F(Rotation, HeadsThatWereKeptElsewhereAreCompared) {
  const Head second = write(2);
  const Head third = write(1);
  EXPECT_TRUE(verify_log(path_, {third, second}));
  const auto other = verify_log(path_, {{.sequence = 2, .sha256 = "ab"}});
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().message, path_.string() + ".2: record 2 has the SHA-256 " +
                                       second.sha256 + ", but the head that was kept says ab");
  const auto cut = verify_log(path_, {{.sequence = 9, .sha256 = "ab"}});
  ASSERT_FALSE(cut);
  EXPECT_EQ(cut.error().message,
            "the log ends with record 3, but the head that was kept is of record 9");
}

TEST_F(Rotation, SyncsWhereAsked) {
  Writer writer = open({});
  for (const Sync sync : {Sync::off, Sync::batch, Sync::each}) {
    writer.set_sync(sync);
    EXPECT_TRUE(writer.append({.request = "r"}));
    EXPECT_TRUE(writer.flush_denials());
  }
  Writer device = Writer::open("/dev/null", {"web", "b"}).value();
  device.set_sync(Sync::each);
  EXPECT_TRUE(device.append({.request = "r"}));
}

}  // namespace
}  // namespace pinhole::audit
