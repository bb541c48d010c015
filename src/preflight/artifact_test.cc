// SPDX-License-Identifier: Apache-2.0
#include "preflight/artifact.h"

#include <sys/stat.h>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "preflight/test_files.h"

namespace pinhole::preflight {
namespace {

using testing::HasSubstr;

TEST(Identify, NamesWhatPeopleReallySaved) {
  EXPECT_EQ(identify("  <!DOCTYPE HTML><title>404"),
            "an HTML page, most likely a saved error page");
  EXPECT_EQ(identify("<?xml version=\"1.0\"?><Error>"),
            "an XML document, most likely a saved error page");
  EXPECT_EQ(identify("{\"message\":\"Not Found\"}"),
            "a JSON document, most likely a saved error answer");
  EXPECT_EQ(identify("version https://git-lfs.github.com/spec/v1\n"),
            "a Git LFS pointer, not the file itself (git lfs pull)");
  EXPECT_EQ(identify("QFI\xfb"), "a qcow2 disk image");
  EXPECT_EQ(identify(""), "an empty file");
  EXPECT_EQ(identify(std::string(512, '\0') + "EFI PART"), "a GPT disk");
  EXPECT_EQ(identify("anything"), "unknown data");
}

class RawDisk : public InFolder {
 protected:
  Result<void> check(std::string_view content) {
    put("disk.raw", content);
    return check_raw_disk(fs::canonical(at("disk.raw")));
  }
};

TEST_F(RawDisk, IsJudgedByContent) {
  EXPECT_TRUE(check(std::string(512, '\0') + "EFI PART" + std::string(1016, '\0')));
  const auto qcow2 = check("QFI\xfb" + std::string(508, '\0'));
  EXPECT_THAT(qcow2.error().message,
              HasSubstr("it has 512 bytes and is a qcow2 disk image, not a raw disk with a GPT"));
  EXPECT_FALSE(check(std::string(512, '\0') + "EFI PART!"));
  EXPECT_FALSE(check(""));
}

TEST_F(RawDisk, AQcow2ImageOfThatNameIsRefusedAndAdviceNamesItsFormat) {
  const auto refused = check(with_qcow2_header(std::string(4096, '\0'), ""));
  EXPECT_THAT(refused.error().message, HasSubstr("is a qcow2 disk image"));
  EXPECT_THAT(refused.error().fix, testing::StartsWith("qemu-img convert -f qcow2 -O raw /"));
}

TEST_F(RawDisk, WhatAGuestWroteOverItsBootCodeDoesNotMakeItAnotherFormat) {
  EXPECT_TRUE(has_valid_gpt(gpt_disk()));
  EXPECT_TRUE(check(gpt_disk()));
  EXPECT_TRUE(check(with_qcow2_header(gpt_disk(), "/home/ana/.ssh/id_ed25519")));
  EXPECT_TRUE(check(with_qcow2_header(gpt_disk(), "/home/ana/.ssh/id_ed25519", 2)));
  std::string vmdk = gpt_disk();
  vmdk.replace(0, 21, "# Disk DescriptorFile");
  EXPECT_TRUE(check(vmdk));
}

TEST_F(RawDisk, NobodyIsAdvisedToConvertWhatNamesAnotherFile) {
  std::string torn = with_qcow2_header(gpt_disk(), "/home/ana/.ssh/id_ed25519");
  torn[512 + 40] ^= 1;  // the checksum does not hold any more
  EXPECT_FALSE(has_valid_gpt(torn));
  std::string external = with_qcow2_header(std::string(4096, '\0'), "");
  external[79] = 4;
  for (const std::string& disk :
       {torn, external, with_qcow2_header(std::string(4096, '\0'), "/etc/passwd"),
        "# Disk DescriptorFile" + std::string(4075, '\0')}) {
    const auto refused = check(disk);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().fix, "fetch or build the disk image again, and check its checksum");
  }
}

TEST_F(RawDisk, IsAFileAndNoLinkLeadsToIt) {
  put("good.raw", gpt_disk());
  const fs::path folder = fs::canonical(folder_.path());
  EXPECT_TRUE(check_raw_disk(folder / "good.raw"));
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  EXPECT_THAT(check_raw_disk(folder / "fifo").error().message, HasSubstr("not a regular file"));
  fs::create_symlink("good.raw", at("link.raw"));  // planted after links were resolved
  fs::create_directory_symlink(".", at("folder"));
  for (const char* name : {"link.raw", "folder/good.raw"}) {
    const auto refused = check_raw_disk(folder / name);
    EXPECT_THAT(refused.error().message, HasSubstr("a symbolic link has taken the place"));
  }
}

}  // namespace
}  // namespace pinhole::preflight
