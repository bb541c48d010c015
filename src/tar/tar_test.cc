// SPDX-License-Identifier: Apache-2.0
// Round trips of all that a file system has, and archives that lie.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <filesystem>
#include <fstream>

#include <gtest/gtest.h>

#include "sys/files.h"
#include "tar/tar.h"

namespace pinhole::tar {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kBlock = 512;

std::string packed(const fs::path& path, const std::string& name) {
  std::string bytes;
  const auto tally = pack(path, name, [&](std::string_view piece) -> Result<void> {
    bytes += piece;
    return {};
  });
  EXPECT_TRUE(tally) << tally.error().message;
  return bytes;
}

/// In pieces of odd sizes.
Source source_of(std::string bytes) {
  return [bytes = std::move(bytes),
          at = std::size_t{0}](std::span<char> into) mutable -> Result<std::size_t> {
    const std::size_t n = std::min({into.size(), std::size_t{1021}, bytes.size() - at});
    std::memcpy(into.data(), bytes.data() + at, n);
    at += n;
    return n;
  };
}

/// POSIX.1-2017 pax, "ustar Interchange Format".
std::string ustar(const std::string& name, char type, std::string_view content = {},
                  const std::string& link = {}, unsigned mode = 0644) {
  std::string header(kBlock, '\0');
  const auto put = [&](std::size_t at, std::string_view text) {
    header.replace(at, text.size(), text);
  };
  put(0, name.substr(0, 100));
  put(100, fmt::format("{:07o}", mode));
  put(108, "0000000");
  put(116, "0000000");
  put(124, fmt::format("{:011o}", content.size()));
  put(136, "00000000001");
  put(148, "        ");
  header[156] = type;
  put(157, link.substr(0, 100));
  put(257, std::string_view("ustar\00000", 8));
  unsigned sum = 0;
  for (const char c : header) sum += static_cast<unsigned char>(c);
  put(148, fmt::format("{:06o}", sum));
  header[154] = '\0';
  std::string result = header + std::string(content);
  result.resize((result.size() + kBlock - 1) / kBlock * kBlock);
  return result;
}

const std::string kEnd(2 * kBlock, '\0');

struct TarTest : testing::Test {
  sys::TempDir dir = sys::TempDir::make().value();
  fs::path from = dir.path() / "from";
  fs::path to = dir.path() / "to";
  TarTest() {
    fs::create_directory(from);
    fs::create_directory(to);
  }
  /// "ok", with what was left out, or the error, without the folder's path.
  std::string taken(const std::string& bytes, UnpackRules rules = {}) {
    const auto tally = unpack(source_of(bytes), "top", to, "top", rules);
    if (!tally) {
      std::string message = tally.error().message;
      if (const auto at = message.find(dir.path().string()); at != std::string::npos)
        message.erase(at, dir.path().string().size());
      return message;
    }
    std::string result = "ok";
    for (const std::string& name : tally->left_out) result += " -" + name;
    return result;
  }
  static std::string content(const fs::path& path) {
    return sys::read_file(path, 1 << 20).value_or("(none)");
  }
};

TEST_F(TarTest, ARoundTripKeepsAllThatAFileSystemHas) {
  const fs::path tree = from / "tree";
  const std::string long_name(255, 'n');
  fs::create_directories(tree / "deep/a/b/c/empty");
  ASSERT_TRUE(sys::write_file_atomic(tree / "script", "#!/bin/sh\n", 0750));
  ASSERT_TRUE(sys::write_file_atomic(tree / "nothing", "", 0600));
  std::ofstream(tree / "deep" / long_name) << "long";
  ASSERT_TRUE(sys::write_file_atomic(tree / "gr\xc3\xbc\xc3\x9f"
                                            "e \n \xff",
                                     "names are bytes"));
  fs::create_hard_link(tree / "script", tree / "z-second-name");
  fs::create_symlink("../../script", tree / "deep/a/link");
  fs::create_symlink(std::string(3000, 'x'), tree / "deep/long-link");
  ::chmod((tree / "deep").c_str(), 0555);
  const std::array<timespec, 2> times = {timespec{.tv_sec = 1, .tv_nsec = 2},
                                         timespec{.tv_sec = 1'700'000'000, .tv_nsec = 123'456'789}};
  for (const char* name : {"script", "deep"})
    ::utimensat(AT_FDCWD, (tree / name).c_str(), times.data(), 0);

  const auto tally = unpack(source_of(packed(tree, "tree")), "tree", to, "other", {});
  ASSERT_TRUE(tally) << tally.error().message;
  EXPECT_EQ(tally->entries, 13U);
  EXPECT_EQ(tally->bytes, 10U + 4 + 15);
  EXPECT_EQ(tally->left_out_count, 0U);
  const fs::path copy = to / "other";
  EXPECT_EQ(content(copy / "script"), "#!/bin/sh\n");
  EXPECT_EQ(content(copy / "nothing"), "");
  EXPECT_EQ(content(copy / "deep" / long_name), "long");
  EXPECT_EQ(content(copy / "gr\xc3\xbc\xc3\x9f"
                           "e \n \xff"),
            "names are bytes");
  EXPECT_TRUE(fs::is_empty(copy / "deep/a/b/c/empty"));
  EXPECT_TRUE(fs::equivalent(copy / "script", copy / "z-second-name"));
  EXPECT_EQ(fs::read_symlink(copy / "deep/a/link"), "../../script");
  EXPECT_EQ(fs::read_symlink(copy / "deep/long-link").string().size(), 3000U);
  for (const char* name : {"script", "deep"}) {
    struct stat info{};
    ASSERT_EQ(::stat((copy / name).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, name == std::string_view("script") ? 0750U : 0555U);
    EXPECT_EQ(info.st_mtim.tv_sec, 1'700'000'000);
    EXPECT_EQ(info.st_mtim.tv_nsec, 123'456'789);
  }
  ::chmod((tree / "deep").c_str(), 0755);
  ::chmod((copy / "deep").c_str(), 0755);
}

TEST_F(TarTest, HolesStayHoles) {
  constexpr off_t kSize = off_t{1} << 30;
  const auto make = [&](const char* name, std::initializer_list<off_t> places) {
    const Fd file(::open((from / name).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    for (const off_t at : places) EXPECT_EQ(::pwrite(file.get(), "data", 4, at), 4);
    EXPECT_EQ(::ftruncate(file.get(), kSize), 0);
  };
  make("some", {0, 1 << 20, kSize - 4});
  make("none", {});
  const std::string bytes = packed(from, "top");
  EXPECT_LT(bytes.size(), std::size_t{1} << 20);
  EXPECT_EQ(taken(bytes), "ok");
  for (const char* name : {"some", "none"}) {
    struct stat info{};
    ASSERT_EQ(::stat((to / "top" / name).c_str(), &info), 0);
    EXPECT_EQ(info.st_size, kSize);
    EXPECT_LT(info.st_blocks, 2048);
  }
  const Fd copy(::open((to / "top/some").c_str(), O_RDONLY | O_CLOEXEC));
  std::array<char, 5> piece{};
  EXPECT_EQ(::pread(copy.get(), piece.data(), 4, kSize - 4), 4);
  EXPECT_STREQ(piece.data(), "data");
  EXPECT_EQ(::pread(copy.get(), piece.data(), 4, 1 << 20), 4);
  EXPECT_STREQ(piece.data(), "data");
}

TEST_F(TarTest, ATrustingOneKeepsOwnersSpecialBitsAndDevices) {
  if (::getuid() != 0) GTEST_SKIP() << "only root may give files away";
  ASSERT_TRUE(sys::write_file_atomic(from / "tool", "x"));
  ASSERT_EQ(::chown((from / "tool").c_str(), 1234, 4321), 0);
  ASSERT_EQ(::chmod((from / "tool").c_str(), 04755), 0);
  ASSERT_EQ(::mkfifo((from / "fifo").c_str(), 0640), 0);
  fs::create_symlink("/etc/passwd", from / "out");
  const std::string bytes = packed(from, "top");
  const std::string report = taken(bytes);
  EXPECT_TRUE(report == "ok -top/fifo -top/out" || report == "ok -top/out -top/fifo") << report;
  struct stat info{};
  ASSERT_EQ(::stat((to / "top/tool").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 0755U);
  EXPECT_EQ(info.st_uid, 0U);
  EXPECT_EQ(taken(bytes, {.trusting = true}), "ok");
  ASSERT_EQ(::stat((to / "top/tool").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 07777, 04755U);
  EXPECT_EQ(info.st_uid, 1234U);
  EXPECT_EQ(info.st_gid, 4321U);
  EXPECT_EQ(fs::read_symlink(to / "top/out"), "/etc/passwd");
  ASSERT_EQ(::lstat((to / "top/fifo").c_str(), &info), 0);
  EXPECT_TRUE(S_ISFIFO(info.st_mode));
}

TEST_F(TarTest, NamesThatLeadElsewhereAreRefused) {
  for (const std::string& name :
       {"/etc/x", "../x", "top/../../x", "top//../x", "..", "top/..", ""}) {
    EXPECT_TRUE(taken(ustar(name, '0', "evil") + kEnd).find("forbidden name") !=
                    std::string::npos ||
                name.empty())
        << name << ": " << taken(ustar(name, '0', "evil") + kEnd);
  }
  EXPECT_EQ(taken(ustar("other", '0', "evil") + kEnd), "the archive has other beside top");
  EXPECT_TRUE(fs::is_empty(to));
  EXPECT_EQ(taken(ustar("./top/", '5', {}, {}, 0755) + ustar("top/x", '0', "fine") + kEnd), "ok");
  EXPECT_EQ(content(to / "top/x"), "fine");
}

TEST_F(TarTest, LinksThatLeadOutAreLeftOutAndOthersAreKept) {
  const std::string folders = ustar("top", '5', {}, {}, 0755) + ustar("top/d", '5', {}, {}, 0755);
  for (const std::string& target : {"/etc", "..", "../x", "d/..", "./d/../../x"}) {
    EXPECT_EQ(taken(folders + ustar("top/l", '2', {}, target) + kEnd), "ok -top/l") << target;
    EXPECT_FALSE(fs::is_symlink(to / "top/l")) << target;
  }
  EXPECT_EQ(taken(folders + ustar("top/d/l", '2', {}, "../../x") + kEnd), "ok -top/d/l");
  EXPECT_EQ(taken(ustar("top", '2', {}, "x") + kEnd), "ok -top");
  for (const std::string& target : {"d", "./d/e", "x"}) {
    EXPECT_EQ(taken(folders + ustar("top/l", '2', {}, target) + kEnd), "ok") << target;
    EXPECT_EQ(fs::read_symlink(to / "top/l"), target);
  }
  EXPECT_EQ(taken(folders + ustar("top/d/l", '2', {}, "../x") + kEnd), "ok");
}

TEST_F(TarTest, NothingIsWrittenThroughALink) {
  fs::create_directory(dir.path() / "elsewhere");
  ASSERT_TRUE(sys::write_file_atomic(dir.path() / "elsewhere/x", "old"));
  const std::string top = ustar("top", '5', {}, {}, 0755);
  EXPECT_EQ(
      taken(top + ustar("top/l", '2', {}, "d") + ustar("top/l/x", '0', "evil") + kEnd),
      "cannot create top/l/x: a link or file is in its way; what had come by then is in /to/top");
  // The user's own ones in the target are no way out either.
  fs::remove(to / "top/l");
  fs::create_symlink(dir.path() / "elsewhere", to / "top/l");
  EXPECT_EQ(taken(top + ustar("top/l/x", '0', "evil") + kEnd),
            "cannot create top/l/x: a link or file is in its way");
  EXPECT_EQ(taken(top + ustar("top/l", '5', {}, {}, 0700) + kEnd),
            "cannot create top/l: a link or file is in its way");
  fs::create_symlink(dir.path() / "elsewhere/x", to / "top/f");
  EXPECT_EQ(taken(top + ustar("top/f", '0', "new") + kEnd), "ok");
  EXPECT_EQ(content(to / "top/f"), "new");
  EXPECT_EQ(content(dir.path() / "elsewhere/x"), "old");
}

TEST_F(TarTest, HardLinksOnlyToWhatTheArchiveBrought) {
  const std::string top = ustar("top", '5', {}, {}, 0755);
  fs::create_directory(to / "top");
  ASSERT_TRUE(sys::write_file_atomic(to / "top/mine", "mine"));
  EXPECT_EQ(taken(top + ustar("top/l", '1', {}, "top/mine") + kEnd),
            "the archive has a hard link to what it does not hold: top/l");
  EXPECT_EQ(taken(top + ustar("top/l", '1', {}, "/etc/passwd") + kEnd),
            "the archive has a hard link to something else: top/l");
  EXPECT_EQ(taken(top + ustar("top/l", '1', {}, "top/../../x") + kEnd),
            "the archive has a hard link to something else: top/l");
  EXPECT_EQ(taken(top + ustar("top/a", '0', "a") + ustar("top/l", '1', {}, "top/a") + kEnd), "ok");
  EXPECT_TRUE(fs::equivalent(to / "top/a", to / "top/l"));
  EXPECT_EQ(content(to / "top/mine"), "mine");
}

TEST_F(TarTest, DevicesAreLeftOut) {
  EXPECT_EQ(taken(ustar("top", '5', {}, {}, 0755) + ustar("top/null", '3') + ustar("top/sda", '4') +
                  ustar("top/pipe", '6') + kEnd),
            "ok -top/null -top/sda -top/pipe");
  EXPECT_TRUE(fs::is_empty(to / "top"));
}

TEST_F(TarTest, BoundsHold) {
  const std::string top = ustar("top", '5', {}, {}, 0755);
  const std::string two = top + ustar("top/a", '0', "12345") + kEnd;
  EXPECT_EQ(taken(two, {.most_entries = 2, .most_bytes = 5}), "ok");
  fs::remove_all(to / "top");
  EXPECT_EQ(taken(two, {.most_entries = 1}),
            "the archive has more than 1 entries; what had come by then is in /to/top");
  fs::remove_all(to / "top");
  EXPECT_EQ(taken(two, {.most_bytes = 4}),
            "the archive has more than 4 bytes; what had come by then is in /to/top");
  std::string deep = "top";
  std::string bytes = top;
  for (int i = 0; i < 40; ++i) bytes += ustar(deep += "/d", '5', {}, {}, 0755);
  EXPECT_EQ(taken(bytes + kEnd), "ok");
  const std::string too_deep = [] {
    std::string path = "top";
    for (int i = 0; i < 200; ++i) path += "/d";
    return path;
  }();
  // A pax header that gives the name (POSIX.1-2017 pax, "pax Header Block").
  const auto named = [](const std::string& path) {
    std::string record = fmt::format(" path={}\n", path);
    std::size_t length = record.size() + 3;
    return ustar("h", 'x', std::to_string(length) + record) + ustar("short", '0', "x");
  };
  EXPECT_NE(taken(top + named(too_deep) + kEnd).find("forbidden name"), std::string::npos);
  EXPECT_NE(taken(top + named("top/" + std::string(300, 'n')) + kEnd).find("forbidden name"),
            std::string::npos);
}

TEST_F(TarTest, WhatIsNoArchiveOrACutOneIsAnError) {
  EXPECT_EQ(taken(""), "the archive is empty");
  EXPECT_NE(taken("no tar at all, but long enough to be asked about" + std::string(2000, 'x')),
            "ok");
  const std::string whole =
      ustar("top", '5', {}, {}, 0755) + ustar("top/a", '0', std::string(5000, 'a'));
  EXPECT_NE(taken(whole.substr(0, 3000)).find("what had come by then is in /to/top"),
            std::string::npos);
  const auto broken =
      unpack([](std::span<char>) -> Result<std::size_t> { return fail("the guest went away"); },
             "top", to, "top", {});
  EXPECT_EQ(broken.error().message, "the guest went away");
  EXPECT_EQ(unpack(source_of(""), "a/b", to, "x", {}).error().message, "\"a/b\" is not a name");
  EXPECT_EQ(unpack(source_of(""), "a", to, "..", {}).error().message, "\"..\" is not a name");
}

TEST_F(TarTest, ASinkThatFailsEndsThePacking) {
  ASSERT_TRUE(sys::write_file_atomic(from / "x", std::string(300'000, 'x')));
  int calls = 0;
  const auto tally = pack(from, "top", [&](std::string_view) -> Result<void> {
    ++calls;
    return fail("the guest went away");
  });
  EXPECT_EQ(tally.error().message, "the guest went away");
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(
      pack(from / "none", "none", [](std::string_view) { return Result<void>(); }).error().code,
      "not_found");
}

TEST_F(TarTest, AFailedPackingDoesNotLookWhole) {
  fs::path path = from;
  for (int i = 0; i < 140; ++i) path /= "d";
  fs::create_directories(path);
  std::string bytes;
  const auto tally = pack(from, "top", [&](std::string_view piece) -> Result<void> {
    bytes += piece;
    return {};
  });
  EXPECT_NE(tally.error().message.find("deeper than 128 folders"), std::string::npos);
  EXPECT_FALSE(bytes.ends_with(kEnd));
}

TEST_F(TarTest, PlacesAreAsWithCp) {
  const auto place = [&](const std::string& path) {
    const auto found = place_for(dir.path() / path, "top");
    return found ? fs::relative(found->folder, dir.path()).string() + "|" + found->name
                 : found.error().code;
  };
  EXPECT_EQ(place("to"), "to|top");
  EXPECT_EQ(place("to/"), "to|top");
  EXPECT_EQ(place("new"), ".|new");
  EXPECT_EQ(place("to/new"), "to|new");
  EXPECT_EQ(place("new/"), "not_found");
  EXPECT_EQ(place("none/new"), "not_found");
  EXPECT_EQ(top_name("/a/b"), "b");
  EXPECT_EQ(top_name("/a/b/"), "b");
  EXPECT_EQ(top_name("/a/b/."), "b");
  EXPECT_EQ(top_name("/"), "files");
}

}  // namespace
}  // namespace pinhole::tar
