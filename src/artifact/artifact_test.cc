// SPDX-License-Identifier: Apache-2.0
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "artifact/disk.h"
#include "artifact/firmware.h"
#include "artifact/identify.h"
#include "artifact/initrd.h"
#include "artifact/kernel.h"
#include "artifact/test_artifacts.h"

namespace pinhole::artifact {
namespace {

TEST(Identify, NamesWhatPeopleReallySaved) {
  EXPECT_EQ(identify("  <!DOCTYPE HTML><title>404"),
            "an HTML page, most likely a saved error page");
  EXPECT_EQ(identify("\xef\xbb\xbf<html>"), "an HTML page, most likely a saved error page");
  EXPECT_EQ(identify("<?xml version=\"1.0\"?><Error>"),
            "an XML document, most likely a saved error page");
  EXPECT_EQ(identify("{\"message\":\"Not Found\"}"),
            "a JSON document, most likely a saved error answer");
  EXPECT_EQ(identify("version https://git-lfs.github.com/spec/v1\n"),
            "a Git LFS pointer, not the file itself (git lfs pull)");
  EXPECT_EQ(identify("HTTP/1.1 404 Not Found\r\n"),
            "an HTTP response with its header, not its content");
  EXPECT_EQ(identify("QFI\xfb"), "a qcow2 disk image");
  EXPECT_EQ(identify("\x1f\x8b\x08"), "gzip-compressed data");
  EXPECT_EQ(identify(""), "an empty file");
  EXPECT_EQ(identify(std::string(512, '\0') + "EFI PART"), "a GPT disk");
  EXPECT_EQ(identify(std::string(600, '\0')), "nothing but zeros at its beginning");
  EXPECT_EQ(identify("404: Not Found"), "a text file");
  EXPECT_EQ(identify("\x01\x02\x03"), "unknown data");
}

TEST(Identify, LooksBehindTheBeginningToo) {
  EXPECT_EQ(identify(MemorySource(test::iso())), "an ISO 9660 image");
  EXPECT_EQ(identify(MemorySource(std::string(4096, '\0') + test::vhd_footer(4096, 2))),
            "a VHD disk image");
  EXPECT_EQ(identify(MemorySource("")), "an empty file");
}

TEST(HandMade, AllHold) {
  const auto problem = [](const std::vector<Error>& problems) {
    return problems.empty() ? "" : problems.front().message;
  };
  const auto disk = [&](const std::string& bytes) {
    return problem(judge_disk(MemorySource(bytes), "x").problems);
  };
  const auto kernel = [&](const std::string& bytes, Machine machine = Machine::x86_64) {
    return problem(judge_kernel(MemorySource(bytes), "x", machine).problems);
  };
  EXPECT_EQ(disk(test::bootable_disk()), "");
  EXPECT_EQ(disk(test::qcow2()), "");
  EXPECT_EQ(disk(test::vhd()), "");
  EXPECT_EQ(disk(std::string(8192, 'x') + test::vhd_footer(8192, 2)), "");
  EXPECT_EQ(disk(test::vmdk()), "");
  EXPECT_EQ(disk(test::iso()), "");
  EXPECT_EQ(kernel(test::kernel()), "");
  EXPECT_EQ(kernel(test::elf()), "");
  EXPECT_EQ(kernel(test::arm64_image(), Machine::aarch64), "");
  EXPECT_EQ(
      problem(judge_initrd(MemorySource(test::cpio({{"init", "x"}})), "x", Depth::full).problems),
      "");
  EXPECT_EQ(firmware_fault(MemorySource(test::firmware())), std::nullopt);
  EXPECT_EQ(variable_template_fault(MemorySource(test::variable_store())), std::nullopt);
}

}  // namespace
}  // namespace pinhole::artifact
