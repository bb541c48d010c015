// SPDX-License-Identifier: Apache-2.0
#include "sys/sparse_copy.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/sha256.h"
#include "sys/files.h"

namespace pinhole::sys {
namespace {

using ::testing::HasSubstr;

constexpr off_t kMiB = off_t{1} << 20;

struct Folder {
  TempDir dir = TempDir::make().value();
  [[nodiscard]] fs::path at(const char* name) const { return dir.path() / name; }
  /// 64 MiB: data at 3 MiB and in the last bytes, else a hole.
  void make_sparse(const char* name) const {
    const Fd file(::open(at(name).c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    ASSERT_TRUE(file);
    ASSERT_EQ(::ftruncate(file.get(), 64 * kMiB), 0);
    ASSERT_EQ(::pwrite(file.get(), "middle", 6, 3 * kMiB), 6);
    ASSERT_EQ(::pwrite(file.get(), "end", 3, 64 * kMiB - 3), 3);
  }
  [[nodiscard]] struct stat info(const char* name) const {
    struct stat info{};
    EXPECT_EQ(::stat(at(name).c_str(), &info), 0);
    return info;
  }
};

TEST(CopySparse, KeepsContentAndHoles) {
  const Folder folder;
  folder.make_sparse("from");
  ASSERT_TRUE(copy_sparse(folder.at("from"), folder.at("to")));
  EXPECT_EQ(sha256_file(folder.at("to")).value(), sha256_file(folder.at("from")).value());
  EXPECT_EQ(folder.info("to").st_size, 64 * kMiB);
  EXPECT_LT(folder.info("to").st_blocks * 512, kMiB);
  EXPECT_EQ(folder.info("to").st_mode & 07777U, 0600U);
}

TEST(CopySparse, NeverWritesOverOrThroughALink) {
  const Folder folder;
  ASSERT_TRUE(write_file_atomic(folder.at("from"), "new"));
  ASSERT_TRUE(write_file_atomic(folder.at("there"), "old"));
  EXPECT_THAT(copy_sparse(folder.at("from"), folder.at("there")).error().message,
              HasSubstr("File exists"));
  fs::create_symlink("there", folder.at("link"));
  EXPECT_FALSE(copy_sparse(folder.at("from"), folder.at("link")));
  EXPECT_FALSE(copy_sparse(folder.at("link"), folder.at("to")));
  EXPECT_EQ(read_file(folder.at("there"), 100).value(), "old");
}

TEST(CopySparse, EndsWhenItsCallerGivesUp) {
  const Folder folder;
  folder.make_sparse("from");
  const auto copied = copy_sparse(folder.at("from"), folder.at("to"), [] { return false; });
  // Where blocks can be shared it is done before anybody is asked.
  if (!copied) EXPECT_EQ(copied.error().code, "cancelled");
}

TEST(Sha256File, IsTheSameWithAndWithoutHoles) {
  const Folder folder;
  folder.make_sparse("sparse");
  std::string full(64 * kMiB, '\0');
  full.replace(3 * kMiB, 6, "middle");
  full.replace(full.size() - 3, 3, "end");
  EXPECT_EQ(sha256_file(folder.at("sparse")).value(), sha256_hex(full));
  ASSERT_TRUE(write_file_atomic(folder.at("empty"), ""));
  EXPECT_EQ(sha256_file(folder.at("empty")).value(), sha256_hex(""));
  ASSERT_EQ(::truncate(folder.at("empty").c_str(), 5), 0);
  EXPECT_EQ(sha256_file(folder.at("empty")).value(), sha256_hex(std::string(5, '\0')));
}

}  // namespace
}  // namespace pinhole::sys
