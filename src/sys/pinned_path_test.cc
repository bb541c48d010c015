// SPDX-License-Identifier: Apache-2.0
#include "sys/pinned_path.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/files.h"

namespace pinhole::sys {
namespace {

using testing::HasSubstr;

TEST(PinnedPath, OpensAFileButNotThroughALinkThatTookItsPlace) {
  const auto folder = TempDir::make().value();
  const fs::path real = fs::canonical(folder.path());
  fs::create_directory(real / "dir");
  ASSERT_TRUE(write_file_atomic(real / "dir/disk", "content"));
  EXPECT_TRUE(open_pinned_file(real / "dir/disk", O_RDWR));
  EXPECT_TRUE(open_pinned(real / "dir", O_PATH | O_DIRECTORY));

  fs::rename(real / "dir", real / "elsewhere");
  fs::create_directory_symlink(real / "elsewhere", real / "dir");
  const auto through_link = open_pinned_file(real / "dir/disk", O_RDWR);
  ASSERT_FALSE(through_link);
  EXPECT_THAT(through_link.error().message, HasSubstr("a symbolic link has taken the place"));
  EXPECT_FALSE(open_pinned(real / "dir", O_PATH | O_DIRECTORY));
}

TEST(PinnedPath, TakesNoFifoAndNoFolderForAFile) {
  const auto folder = TempDir::make().value();
  const fs::path real = fs::canonical(folder.path());
  ASSERT_EQ(::mkfifo((real / "fifo").c_str(), 0600), 0);
  EXPECT_THAT(open_pinned_file(real / "fifo", O_RDONLY).error().message,
              HasSubstr("not a regular file"));
  EXPECT_THAT(open_pinned_file(real, O_RDONLY).error().message, HasSubstr("not a regular file"));
}

}  // namespace
}  // namespace pinhole::sys
