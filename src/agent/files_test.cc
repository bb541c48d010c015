// SPDX-License-Identifier: Apache-2.0
// The operations `read-files` and `write-files`, with the agent's own program as the helper.
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include <gtest/gtest.h>

#include "agent/files_helper.h"
#include "agent/test_operations.h"
#include "tar/tar.h"

namespace pinhole::agent {
namespace {

namespace fs = std::filesystem;

struct FilesTest : OperationsTest {
  static Settings with_helper() {
    Settings settings;
    settings.self = PINHOLE_AGENT;
    settings.files_idle = std::chrono::seconds(20);
    return settings;
  }
  FilesTest() : FilesTest(with_helper()) {}
  explicit FilesTest(Settings given) : OperationsTest(std::move(given)) {
    fs::create_directory(dir.path() / "guest");
    fs::create_directory(dir.path() / "host");
  }
  std::string guest(const std::string& name) { return (dir.path() / "guest" / name).string(); }
  /// What tar::pack() makes of a path.
  static std::string packed(const fs::path& path, const std::string& name) {
    std::string bytes;
    EXPECT_TRUE(tar::pack(path, name, [&](std::string_view piece) -> Result<void> {
      bytes += piece;
      return {};
    }));
    return bytes;
  }
  /// Sends it within the window, which is all that these need.
  Outcome write(const std::string& path, const std::string& name, std::string_view bytes) {
    Peer peer = ask(wire::WriteFilesRequest{.path = path, .name = name});
    for (; !bytes.empty(); bytes.remove_prefix(std::min(bytes.size(), wire::kFrameBytes)))
      peer.send(wire::encode_frame(FrameType::stdin_data, bytes.substr(0, wire::kFrameBytes)));
    peer.send(wire::encode_frame(FrameType::stdin_eof, ""));
    return finish(peer);
  }
  static std::string error_of(const Outcome& outcome) {
    const auto* error = outcome.reply ? std::get_if<wire::ErrorReply>(&*outcome.reply) : nullptr;
    return error == nullptr ? "none" : error->code + "|" + error->message;
  }
};

TEST_F(FilesTest, AFolderGoesThereAndBack) {
  const fs::path tree = dir.path() / "host/tree";
  fs::create_directories(tree / "empty");
  fs::create_symlink("script", tree / "link");
  ASSERT_TRUE(sys::write_file_atomic(tree / "script", std::string(100'000, 's'), 0755));
  const Outcome written = write(guest(""), "tree", packed(tree, "tree"));
  EXPECT_EQ(written.reply, wire::Reply(wire::FilesReply{.entries = 4, .bytes = 100'000}));
  struct stat info{};
  ASSERT_EQ(::stat(guest("tree/script").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755U);
  EXPECT_EQ(info.st_uid, ::getuid());

  Peer peer = ask(wire::ReadFilesRequest{.path = guest("tree/")});
  const Outcome read = finish(peer);
  EXPECT_EQ(read.reply, written.reply);
  std::string bytes = read.streams.at(FrameType::stdout_data);
  std::size_t at = 0;
  const auto source = [&](std::span<char> into) -> Result<std::size_t> {
    const std::size_t n = std::min(into.size(), bytes.size() - at);
    std::memcpy(into.data(), bytes.data() + at, n);
    at += n;
    return n;
  };
  const auto tally = tar::unpack(source, "tree", dir.path() / "host", "back", {});
  ASSERT_TRUE(tally) << tally.error().message;
  EXPECT_EQ(tally->entries, 4U);
  EXPECT_EQ(sys::read_file(dir.path() / "host/back/script", 1 << 20), std::string(100'000, 's'));
  EXPECT_EQ(fs::read_symlink(dir.path() / "host/back/link"), "script");
}

TEST_F(FilesTest, ANewNameIsTakenAndAMissingFolderIsNone) {
  ASSERT_TRUE(sys::write_file_atomic(dir.path() / "host/a", "content"));
  const std::string bytes = packed(dir.path() / "host/a", "a");
  EXPECT_EQ(write(guest("b"), "a", bytes).reply,
            wire::Reply(wire::FilesReply{.entries = 1, .bytes = 7}));
  EXPECT_EQ(sys::read_file(guest("b"), 100), "content");
  EXPECT_EQ(error_of(write(guest("none/b"), "a", bytes)),
            "not_found|" + guest("none") + " is not a folder");
  EXPECT_EQ(error_of(write(guest("c"), "other", bytes)), "failed|the archive has a beside other");
}

TEST_F(FilesTest, WhatCannotBeReadIsNamed) {
  Peer peer = ask(wire::ReadFilesRequest{.path = guest("none")});
  EXPECT_EQ(error_of(finish(peer)), "not_found|cannot read none: No such file or directory");
}

TEST_F(FilesTest, AnArchiveThatIsNoneIsAnError) {
  EXPECT_EQ(error_of(write(guest(""), "a", "")), "failed|the archive is empty");
  EXPECT_EQ(error_of(write(guest(""), "a", std::string(10'000, 'x'))),
            "failed|cannot read the archive: Unrecognized archive format");
  EXPECT_TRUE(fs::is_empty(guest("")));
}

TEST_F(FilesTest, WhatIsReadTakesNoInput) {
  Peer peer = ask(wire::ReadFilesRequest{.path = guest("")});
  peer.send(wire::encode_frame(FrameType::stdin_data, "x"));
  wire::FrameReader frames;
  const Outcome outcome = finish(peer);
  EXPECT_TRUE(!outcome.reply || std::holds_alternative<wire::FilesReply>(*outcome.reply));
}

struct StalledFilesTest : FilesTest {
  static Settings impatient() {
    Settings settings = with_helper();
    settings.files_idle = std::chrono::seconds(1);
    return settings;
  }
  StalledFilesTest() : FilesTest(impatient()) {}
};

TEST_F(StalledFilesTest, ACopyThatDoesNotMoveEndsAndHoldsNobody) {
  Peer stalled = ask(wire::WriteFilesRequest{.path = guest(""), .name = "a"});
  Peer other = ask(wire::StatusRequest{});
  EXPECT_TRUE(finish(other).reply.has_value());
  EXPECT_EQ(error_of(finish(stalled)), "failed|nothing was passed on for 1 s");
}

TEST(FilesReport, IsReadStrictly) {
  EXPECT_EQ(read_files_report("ok 1 2"), wire::Reply(wire::FilesReply{.entries = 1, .bytes = 2}));
  const wire::Reply failed =
      wire::ErrorReply{.code = "failed", .message = "the helper process failed"};
  for (const char* text : {"", "ok", "ok 1", "ok 1 x", "ok 1 2 3", "error", "error x"})
    EXPECT_EQ(read_files_report(text), failed) << text;
  EXPECT_EQ(read_files_report("error not_found a b"),
            wire::Reply(wire::ErrorReply{.code = "not_found", .message = "a b"}));
}

}  // namespace
}  // namespace pinhole::agent
