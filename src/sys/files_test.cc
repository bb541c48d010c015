// SPDX-License-Identifier: Apache-2.0
#include "sys/files.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "sys/guest_dir.h"
#include "sys/unix_socket.h"

namespace pinhole::sys {
namespace {

class Files : public testing::Test {
 protected:
  TempDir folder_ = TempDir::make().value();
  fs::path at(const char* name) { return folder_.path() / name; }
  void put(const char* name, std::string_view text) { std::ofstream(at(name)) << text; }
};

TEST_F(Files, ReadFileIsBoundedAndTakesOnlyFiles) {
  put("small", "text");
  EXPECT_EQ(read_file(at("small"), 4).value(), "text");
  EXPECT_EQ(read_file(at("small"), 3).error().message,
            at("small").string() + " is larger than 3 bytes");
  EXPECT_EQ(read_file(folder_.path(), 4).error().message,
            "cannot read " + folder_.path().string() + ": it is a folder, not a file");
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
  EXPECT_EQ(read_file(at("fifo"), 4).error().message,
            "cannot read " + at("fifo").string() + ": it is a special file, not a file");
}

/// As a removal does it: the file goes while its lock is held. Counts locks on files that were gone already.
int locks_on_what_is_gone(const fs::path& path) {
  int wrong = 0;
  for (int i = 0; i < 20000; ++i) {
    const auto lock = try_lock(path).value();
    if (!lock) continue;
    struct stat ours{}, named{};
    ::fstat(lock->get(), &ours);
    if (::stat(path.c_str(), &named) != 0 || ours.st_ino != named.st_ino) ++wrong;
    ::unlink(path.c_str());
  }
  return wrong;
}

TEST_F(Files, ALockIsOnTheFileThatIsThereAndNotOnOneThatWasRemovedMeanwhile) {
  int wrong = 0;
  {
    const std::jthread other([&] { (void)locks_on_what_is_gone(at("lock")); });
    wrong = locks_on_what_is_gone(at("lock"));
  }
  EXPECT_EQ(wrong, 0);
}

TEST_F(Files, AtomicWriteReplacesAndLeavesNothingBeside) {
  ASSERT_TRUE(write_file_atomic(at("f"), "one"));
  ASSERT_TRUE(write_file_atomic(at("f"), "two"));
  EXPECT_EQ(read_file(at("f"), 10).value(), "two");
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_.path()), fs::directory_iterator()), 1);
  EXPECT_FALSE(write_file_atomic(at("missing/f"), "x"));
}

TEST_F(Files, LockIsHeldByOneOnly) {
  auto first = try_lock(at("lock")).value();
  ASSERT_TRUE(first);
  EXPECT_FALSE(try_lock(at("lock")).value());
  first.reset();
  EXPECT_TRUE(try_lock(at("lock")).value());
}

TEST_F(Files, ASharedLockIsHeldByManyOrNone) {
  auto first = try_shared_lock(at("lock")).value();
  auto second = try_shared_lock(at("lock")).value();
  ASSERT_TRUE(first && second);
  first.reset();
  EXPECT_FALSE(try_lock(at("lock")).value());
  second.reset();
  const auto alone = try_lock(at("lock")).value();
  ASSERT_TRUE(alone);
  EXPECT_FALSE(try_shared_lock(at("lock")).value());
}

TEST_F(Files, PrivateDirRefusesWhatOthersCanWrite) {
  EXPECT_TRUE(make_private_dir(at("a/b/c")));
  EXPECT_TRUE(make_private_dir(at("a/b/c")));
  ::chmod(at("a/b").c_str(), 0777);
  EXPECT_EQ(make_private_dir(at("a/b")).error().message,
            "folder " + at("a/b").string() + " can be written by others");
}

TEST_F(Files, RemoveTreeStaysInside) {
  fs::create_directories(at("tree/deep"));
  put("outside", "kept");
  fs::create_symlink(at("outside"), at("tree/deep/link"));
  fs::create_directory_symlink(folder_.path(), at("tree/up"));
  EXPECT_TRUE(remove_tree(at("tree")));
  EXPECT_FALSE(fs::exists(at("tree")));
  EXPECT_TRUE(fs::exists(at("outside")));
  EXPECT_TRUE(remove_tree(at("tree")));
}

/// A folder with one of everything that a guest may leave in it.
class SharedFolder : public Files {
 protected:
  SharedFolder() {
    put("plain", "ok");
    fs::create_directory(at("sub"));
    put("sub/plain", "ok");
    fs::create_symlink("/etc/passwd", at("link"));
    fs::create_symlink("plain", at("inner-link"));
    fs::create_directory_symlink("/etc", at("dir"));
    EXPECT_EQ(::mkfifo(at("fifo").c_str(), 0600), 0);
    socket_ = listen_unix(at("socket")).value();
    put("sparse", "");
    fs::resize_file(at("sparse"), std::uint64_t{10} << 30);
  }
  std::string why(const char* name) {
    const auto read = guest_.read(name, 1 << 20);
    if (read) return "read";
    EXPECT_THAT(read.error().fix, testing::HasSubstr("put a plain file in its place"));
    return read.error().message.substr(read.error().message.find(": ") + 2);
  }
  Fd socket_;
  GuestDir guest_ = GuestDir::open(folder_.path()).value();
};

TEST_F(SharedFolder, RegularFilesBeneathItAreReadAndNothingElse) {
  EXPECT_EQ(guest_.read("plain", 2).value(), "ok");
  EXPECT_EQ(guest_.read("sub/plain", 2).value(), "ok");
  EXPECT_EQ(why("link"), "it is a symbolic link, or lies behind one");
  EXPECT_EQ(why("inner-link"), "it is a symbolic link, or lies behind one");
  EXPECT_EQ(why("dir/passwd"), "it is a symbolic link, or lies behind one");
  EXPECT_EQ(why("../passwd"), "it leads out of the folder");
  EXPECT_EQ(why("/etc/passwd"), "it leads out of the folder");
  EXPECT_EQ(why("fifo"), "it is a FIFO, not a file");
  EXPECT_EQ(why("socket"), "it is a socket");
  EXPECT_EQ(why("sub"), "it is a folder, not a file");
  EXPECT_EQ(why("sparse"), "it is larger than 1048576 bytes");
  EXPECT_EQ(why("missing"), "No such file or directory");
  EXPECT_FALSE(guest_.read("plain", 1));
}

TEST_F(SharedFolder, NothingThatIsThereIsWrittenOverOrThrough) {
  EXPECT_TRUE(guest_.create("new", "x"));
  for (const char* there : {"new", "link", "fifo", "dir/new", "../new"})
    EXPECT_FALSE(guest_.create(there, "y")) << there;
  EXPECT_EQ(guest_.read("new", 10).value(), "x");
}

TEST_F(SharedFolder, ListSaysWhatIsAFileOfItsOwnAndHasAnEnd) {
  std::vector<std::string> regular;
  const auto entries = guest_.list(100).value();
  for (const GuestDir::Entry& entry : entries) {
    if (entry.regular) regular.push_back(entry.name);
  }
  EXPECT_EQ(entries.size(), 8U);
  EXPECT_THAT(regular, testing::UnorderedElementsAre("plain", "sparse"));
  EXPECT_EQ(guest_.list(3).value().size(), 3U);
  EXPECT_EQ(guest_.list(100).value().size(), 8U);  // from the start again
}

TEST_F(Files, UnixSocketReplacesALeftoverButNotALiveOne) {
  {
    auto live = listen_unix(at("s")).value();
    EXPECT_EQ(listen_unix(at("s")).error().message,
              "cannot listen on " + at("s").string() + ": it is already in use");
  }
  EXPECT_TRUE(listen_unix(at("s")));  // the file is still there, nobody listens
  EXPECT_FALSE(listen_unix(at(std::string(120, 'x').c_str())));
  put("file", "");
  EXPECT_FALSE(listen_unix(at("file")));
}

TEST_F(Files, ConnectSaysBusyWhenTheBacklogIsFull) {
  const auto listener = listen_unix(at("s"), 0).value();
  std::vector<ConnectResult> held;
  do {
    held.push_back(try_connect_unix(at("s")));
    ASSERT_LT(held.size(), 100U);
  } while (held.back().outcome == ConnectOutcome::connected);
  EXPECT_EQ(held.back().outcome, ConnectOutcome::busy);
  EXPECT_EQ(try_connect_unix(at("nobody")).outcome, ConnectOutcome::refused);
}

}  // namespace
}  // namespace pinhole::sys
