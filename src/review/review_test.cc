// SPDX-License-Identifier: Apache-2.0
// Uppers that the kernel made (a script on a real overlay), and uppers that no kernel makes, by hand.
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <ctime>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "review/apply.h"
#include "review/changes.h"
#include "review/discard.h"
#include "review/show.h"
#include "review/store.h"
#include "review/words.h"
#include "sys/files.h"
#include "sys/host_confinement.h"
#include "sys/process.h"

namespace pinhole::review {
namespace {

namespace fs = std::filesystem;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;
using What = Change::What;

class Reviewed : public testing::Test {
 protected:
  Reviewed() {
    for (const char* name : {"folder", "upper", "work"}) fs::create_directory(root_ / name);
    write("folder/a.txt", "one\ntwo\nthree\n");
    write("folder/b.txt", "bee\n");
    write("folder/dir/inner.txt", "inner\n");
    write("folder/dir/deep/deepest.txt", "deepest\n");
    fs::create_symlink("a.txt", root_ / "folder/link");
    begin();
  }
  ~Reviewed() override {
    (void)empty_folder(root_ / "work");
    (void)empty_folder(root_ / "upper");
  }

  void write(const std::string& path, std::string_view content) {
    fs::create_directories((root_ / path).parent_path());
    ASSERT_TRUE(sys::write_file_atomic(root_ / path, content, 0644));
  }
  std::string read(const std::string& path) {
    return sys::read_file(root_ / path, 1 << 20).value_or("(nothing)");
  }
  /// What is there by now is from before the run.
  void begin() {
    timespec now{};
    ::clock_gettime(CLOCK_REALTIME, &now);
    began_ns_ = std::int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
    // The kernel's times of files are coarser than its clock: what comes next is to be later by them, too.
    struct stat info{};
    while (std::int64_t{info.st_ctim.tv_sec} * 1'000'000'000 + info.st_ctim.tv_nsec <= began_ns_) {
      ::chmod((root_ / "work").c_str(), 0700);
      ASSERT_EQ(::stat((root_ / "work").c_str(), &info), 0);
    }
  }

  /// The guest's part: a script in the folder, on an overlay of the kernel's.
  void guest(const std::string& script) {
    sys::FileView view{.paths = sys::runtime_libraries()};
    for (const char* name :
         {"sh", "cat", "rm", "mkdir", "mv", "chmod", "ln", "touch", "mkfifo", "mknod"})
      view.paths.push_back(
          {.path = std::string("/bin/") + name, .access = sys::Visible::Access::execute});
    view.paths.push_back(
        {.path = root_ / "folder",
         .access = sys::Visible::Access::write,
         .inside = "/workspace",
         .overlay = sys::Visible::Overlay{.upper = root_ / "upper", .work = root_ / "work"}});
    sys::Isolation isolation = sys::apart(view);
    isolation.landlock.reset();
    const auto done = sys::run({.program = "/bin/sh",
                                .args = {"-c", "umask 022; cd /workspace; " + script},
                                .environment = {{"PATH", "/bin"}},
                                .isolation = std::move(isolation)},
                               {.time = std::chrono::seconds(20)});
    ASSERT_TRUE(done) << done.error().message;
    ASSERT_TRUE(done->status.ok()) << done->err;
  }

  Changes scan(const ScanLimits& limits = {}) {
    return find_changes(folder(), upper(), began_ns_, limits);
  }
  std::vector<std::string> lines(std::size_t most = 100) {
    const Report report{.changes = scan()};
    EXPECT_EQ(report.changes.incomplete, "");
    return change_lines(report, most);
  }
  ApplyOutcome apply_all(bool force = false) {
    auto outcome = apply(folder(), upper(), scan(), {.force = force});
    EXPECT_TRUE(outcome) << outcome.error().message;
    return outcome.value_or(ApplyOutcome());
  }
  Tree folder() { return Tree::open(root_ / "folder").value(); }
  Tree upper() { return Tree::open(root_ / "upper").value(); }
  /// Everything below the folder: "path mode content".
  std::vector<std::string> tree() {
    std::vector<std::string> out;
    for (const auto& entry : fs::recursive_directory_iterator(root_ / "folder")) {
      const std::string path = entry.path().lexically_relative(root_ / "folder").string();
      struct stat info{};
      ::lstat(entry.path().c_str(), &info);
      if (entry.is_symlink())
        out.push_back(path + " -> " + fs::read_symlink(entry.path()).string());
      else if (entry.is_directory())
        out.push_back(fmt::format("{}/ {:o}", path, info.st_mode & 07777));
      else
        out.push_back(
            fmt::format("{} {:o} {}", path, info.st_mode & 07777, read("folder/" + path)));
    }
    std::ranges::sort(out);
    return out;
  }
  void whiteout(const std::string& path) {
    ASSERT_EQ(::mknod((root_ / path).c_str(), S_IFCHR | 0600, ::makedev(0, 0)), 0) << path;
  }
  void note(const std::string& path, const char* name, std::string_view value) {
    ASSERT_EQ(::setxattr((root_ / path).c_str(), name, value.data(), value.size(), 0), 0);
  }

  sys::TempDir temp_ = sys::TempDir::make().value();
  fs::path root_ = fs::canonical(temp_.path());
  std::int64_t began_ns_ = 0;
};

TEST_F(Reviewed, NothingWrittenIsNoChange) {
  guest("cat a.txt dir/inner.txt; ls dir 2>/dev/null; true");
  EXPECT_THAT(lines(), IsEmpty());
  EXPECT_EQ(summary({}), "nothing changed");
}

TEST_F(Reviewed, WhatWasWrittenAndPutBackIsNoChange) {
  guest(
      "cat a.txt > copy; echo x >> a.txt; cat copy > a.txt; rm copy; chmod 600 b.txt; chmod 644 "
      "b.txt; touch dir/inner.txt");
  EXPECT_THAT(lines(), IsEmpty());
}

TEST_F(Reviewed, EachKindOfChangeIsALine) {
  guest(
      "echo new > new.txt; printf 'one\\n2\\nthree\\nfour\\n' > a.txt; rm b.txt; rm link; ln -s "
      "../../etc/passwd link;"
      "chmod 755 dir/inner.txt; rm -r dir/deep; mkdir -p fresh/sub; echo x > fresh/sub/f; mkfifo "
      "pipe; chmod 700 dir");
  EXPECT_THAT(
      lines(),
      ElementsAre(
          "  M a.txt                            +2 -1", "  D b.txt                            -1",
          "  M dir/                             mode 755 -> 700",
          "  D dir/deep/                        1 file, 8 B",
          "  M dir/inner.txt                    mode 644 -> 755",
          "  A fresh/                           1 file, 2 B",
          "  M link                             -> ../../etc/passwd; leads out of the folder",
          "  A new.txt                          +1",
          "  ? pipe                             left out: a FIFO"));
  EXPECT_EQ(summary({.changes = scan()}), "2 new, 4 changed, 2 deleted, 1 left out");
}

TEST_F(Reviewed, ApplyingGivesWhatTheGuestSaw) {
  guest(
      "echo new > new.txt; echo more >> a.txt; rm b.txt; rm link; ln -s dir link; chmod 755 "
      "dir/inner.txt; rm -r dir/deep;"
      "mkdir -p fresh/sub; echo x > fresh/sub/f; ln -s f fresh/sub/l; chmod 500 fresh/sub; mkfifo "
      "fresh/pipe");
  const ApplyOutcome outcome = apply_all();
  EXPECT_TRUE(outcome.all_done());
  EXPECT_THAT(outcome.refused, SizeIs(1));
  EXPECT_THAT(outcome_lines(outcome, 10),
              ElementsAre("  fresh/pipe                       left out: a FIFO"));
  EXPECT_THAT(tree(), ElementsAre("a.txt 644 one\ntwo\nthree\nmore\n", "dir/ 755",
                                  "dir/inner.txt 755 inner\n", "fresh/ 755", "fresh/sub/ 500",
                                  "fresh/sub/f 644 x\n", "fresh/sub/l -> f", "link -> dir",
                                  "new.txt 644 new\n"));
  // A second time there is nothing left to do.
  EXPECT_EQ(apply_all().applied, 0U);
  fs::permissions(root_ / "folder/fresh/sub", fs::perms::owner_all);
}

TEST_F(Reviewed, NothingIsTouchedUntilItIsApplied) {
  const auto before = tree();
  guest("rm -rf ./* ; mkdir a.txt; echo x > dir");
  EXPECT_EQ(tree(), before);
  (void)scan();
  EXPECT_EQ(tree(), before);
}

TEST_F(Reviewed, OneKindReplacesAnother) {
  guest(
      "rm a.txt; mkdir a.txt; echo in > a.txt/in; rm -r dir; echo file > dir; rm link; echo plain "
      "> link");
  EXPECT_THAT(
      lines(),
      ElementsAre(
          HasSubstr("T a.txt/                           1 file, 3 B; was a file, is a folder"),
          HasSubstr("T dir                              +1; was a folder, is a file"),
          HasSubstr("T link                             +1; was a link, is a file")));
  EXPECT_TRUE(apply_all().all_done());
  EXPECT_THAT(tree(), ElementsAre("a.txt/ 755", "a.txt/in 644 in\n", "b.txt 644 bee\n",
                                  "dir 644 file\n", "link 644 plain\n"));
}

TEST_F(Reviewed, RemovedAndMadeAnewHidesWhatWasThere) {
  guest("rm -r dir; mkdir dir; echo other > dir/other.txt; echo inner > dir/inner.txt");
  EXPECT_THAT(lines(), ElementsAre("  D dir/deep/                        1 file, 8 B",
                                   "  A dir/other.txt                    +1"));
  EXPECT_TRUE(apply_all().all_done());
  EXPECT_FALSE(fs::exists(root_ / "folder/dir/deep"));
  EXPECT_EQ(read("folder/dir/inner.txt"), "inner\n");
}

TEST_F(Reviewed, ARenamedFolderIsADeletedAndANewOne) {
  guest("mv dir moved");
  EXPECT_THAT(lines(), ElementsAre("  D dir/                             2 files, 14 B",
                                   "  A moved/                           2 files, 14 B"));
  EXPECT_TRUE(apply_all().all_done());
  EXPECT_EQ(read("folder/moved/deep/deepest.txt"), "deepest\n");
  EXPECT_FALSE(fs::exists(root_ / "folder/dir"));
}

TEST_F(Reviewed, WhatChangedHereMeanwhileIsAConflictAndIsLeftAlone) {
  guest(
      "echo guest >> a.txt; rm b.txt; rm -r dir; echo g > same.txt; echo g > both.txt; echo fine > "
      "fine.txt");
  write("folder/a.txt", "mine\n");
  write("folder/b.txt", "mine\n");
  write("folder/dir/deep/deepest.txt", "mine\n");
  write("folder/same.txt", "g\n");  // equal on both sides: nobody loses anything
  write("folder/both.txt", "mine\n");
  const ApplyOutcome outcome = apply_all();
  EXPECT_EQ(outcome.applied, 1U);
  EXPECT_FALSE(outcome.all_done());
  EXPECT_THAT(
      outcome_lines(outcome, 10),
      ElementsAre(
          HasSubstr("a.txt                            conflict: changed here since the run began"),
          HasSubstr("b.txt                            conflict: changed here"),
          HasSubstr("both.txt                         conflict: changed here"),
          HasSubstr("dir                              conflict: dir/deep")));
  for (const char* path :
       {"folder/a.txt", "folder/b.txt", "folder/both.txt", "folder/dir/deep/deepest.txt"})
    EXPECT_EQ(read(path), "mine\n");
  EXPECT_EQ(read("folder/fine.txt"), "fine\n");
  EXPECT_TRUE(apply_all(true).all_done());
  EXPECT_THAT(tree(), ElementsAre("a.txt 644 one\ntwo\nthree\nguest\n", "both.txt 644 g\n",
                                  "fine.txt 644 fine\n", "link -> a.txt", "same.txt 644 g\n"));
}

TEST_F(Reviewed, WhatWasRemovedHereMeanwhileIsNotMadeAgain) {
  guest("echo guest >> a.txt; echo guest >> dir/inner.txt; rm b.txt");
  fs::remove(root_ / "folder/a.txt");
  fs::remove_all(root_ / "folder/dir");
  fs::remove(root_ / "folder/b.txt");  // gone on both sides
  const ApplyOutcome outcome = apply_all();
  EXPECT_THAT(
      outcome_lines(outcome, 10),
      ElementsAre(HasSubstr("a.txt                            conflict: was removed here"),
                  HasSubstr("dir                              conflict: was removed here")));
  EXPECT_FALSE(fs::exists(root_ / "folder/a.txt"));
  EXPECT_TRUE(apply_all(true).all_done());
  EXPECT_EQ(read("folder/dir/inner.txt"), "inner\nguest\n");
  EXPECT_FALSE(fs::exists(root_ / "folder/dir/deep"));  // that the guest had not touched
}

TEST_F(Reviewed, ALinkInTheFolderIsNeverFollowed) {
  write("outside/victim.txt", "mine\n");
  guest("rm -r dir; mkdir dir; echo x > dir/victim.txt; echo x > link2");
  // Meanwhile somebody put links here that lead elsewhere.
  fs::remove_all(root_ / "folder/dir");
  fs::create_directory_symlink(root_ / "outside", root_ / "folder/dir");
  fs::create_symlink(root_ / "outside/victim.txt", root_ / "folder/link2");
  EXPECT_TRUE(apply_all(true).all_done());
  EXPECT_EQ(read("outside/victim.txt"), "mine\n");
  EXPECT_TRUE(fs::is_directory(fs::symlink_status(root_ / "folder/dir")));
  EXPECT_EQ(read("folder/dir/victim.txt"), "x\n");
  EXPECT_EQ(read("folder/link2"), "x\n");
}

TEST_F(Reviewed, ALinkOfTheGuestsIsMadeAndNeverFollowed) {
  write("outside/victim.txt", "mine\n");
  fs::create_directory_symlink(root_ / "outside", root_ / "upper/dir");
  fs::create_symlink(root_ / "outside/victim.txt", root_ / "upper/b.txt");
  EXPECT_TRUE(apply_all().all_done());
  EXPECT_TRUE(fs::is_symlink(root_ / "folder/dir"));
  EXPECT_TRUE(fs::is_symlink(root_ / "folder/b.txt"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "outside"), fs::directory_iterator()), 1);
}

TEST_F(Reviewed, SetuidIsNeverApplied) {
  write("upper/tool", "#!/bin/sh\n");
  ::chmod((root_ / "upper/tool").c_str(), 06755);
  fs::create_directory(root_ / "upper/sticky");
  ::chmod((root_ / "upper/sticky").c_str(), 07777);
  write("upper/sticky/in", "x");
  ::chmod((root_ / "upper/sticky/in").c_str(), 04711);
  EXPECT_THAT(
      lines(),
      ElementsAre(
          HasSubstr("A sticky/"),
          HasSubstr("A tool                             +1; executable; without its setuid")));
  EXPECT_TRUE(apply_all().all_done());
  EXPECT_THAT(tree(),
              testing::IsSupersetOf({"sticky/ 777", "sticky/in 711 x", "tool 755 #!/bin/sh\n"}));
}

TEST_F(Reviewed, NotesThatOurMountNeverMakesAreRefused) {
  write("upper/a.txt", "forged");
  note("upper/a.txt", "user.overlay.metacopy", "");
  write("upper/dir/x", "x");
  note("upper/dir", "user.overlay.redirect", "/../../etc");
  write("upper/b.txt", "");
  note("upper/b.txt", "user.overlay.whiteout", "y");
  write("upper/fresh/x", "x");
  note("upper/fresh", "user.overlay.opaque", "x");
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("? a.txt                            left out: the "
                                             "overlay's note \"metacopy\" is not ours"),
                                   HasSubstr("\"whiteout\""), HasSubstr("\"redirect\""),
                                   HasSubstr("\"opaque\"")));
  const auto before = tree();
  EXPECT_EQ(apply_all(true).applied, 0U);
  EXPECT_EQ(tree(), before);
}

TEST_F(Reviewed, WhiteoutsAndOpaqueFoldersByHand) {
  whiteout("upper/a.txt");
  whiteout("upper/never-was");
  fs::create_directory(root_ / "upper/dir");
  note("upper/dir", "user.overlay.opaque", "y");
  note("upper/dir", "user.overlay.impure", "y");
  whiteout("upper/dir/inner.txt");
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("D a.txt"), HasSubstr("D dir/deep/"),
                                   HasSubstr("D dir/inner.txt")));
  EXPECT_TRUE(apply_all().all_done());
  EXPECT_THAT(tree(), ElementsAre("b.txt 644 bee\n", "dir/ 755", "link -> a.txt"));
}

TEST_F(Reviewed, AnOpaqueTopIsNotBelieved) {
  note("upper", "user.overlay.opaque", "y");
  EXPECT_THAT(scan().incomplete, HasSubstr("its top has notes"));
  const auto before = tree();
  EXPECT_THAT(apply(folder(), upper(), scan(), {.force = true}).error().message,
              HasSubstr("nothing is applied"));
  EXPECT_EQ(tree(), before);
}

TEST_F(Reviewed, NamesAreShownHarmlessAndKeptAsTheyAre) {
  write("upper/evil\x1b[2J\nD b.txt", "x");
  write("upper/\xff\xfe", "x");
  EXPECT_THAT(lines(), ElementsAre("  A evil\\x1b[2J\\nD b.txt             +1",
                                   "  A \\xff\\xfe                         +1"));
  EXPECT_TRUE(apply_all().all_done());
  EXPECT_EQ(read("folder/\xff\xfe"), "x");
}

TEST_F(Reviewed, TooMuchIsToldAndNothingOfItApplied) {
  for (int i = 0; i < 20; ++i) write(fmt::format("upper/f{}", i), "x");
  EXPECT_EQ(scan({.changes = 19}).incomplete, "more than 19 changes");
  EXPECT_EQ(scan({.entries = 10}).incomplete, "more than 10 files and folders");
  for (int i = 0; i < 4; ++i) write(fmt::format("upper/deep/er/f{}", i), "x");
  EXPECT_EQ(scan({.entries = 21}).incomplete, "more than 21 files and folders");
  EXPECT_EQ(scan({.entries = 26}).incomplete, "");
  EXPECT_EQ(scan({.path_bytes = 20}).incomplete, "names of more than 20 bytes");
}

TEST_F(Reviewed, DepthIsBoundedAndEmptiedAllTheSame) {
  // Deeper than any path is long, as a guest makes it: one folder in the other, and in there again.
  int at = ::open((root_ / "upper").c_str(), O_RDONLY | O_DIRECTORY);
  for (int i = 0; i < 3000; ++i) {
    ASSERT_EQ(::mkdirat(at, "deeper", 0700), 0);
    const int next = ::openat(at, "deeper", O_RDONLY | O_DIRECTORY);
    ::close(at);
    at = next;
  }
  ASSERT_EQ(::mkdirat(at, "shut", 0), 0);
  ::close(at);
  write("upper/fine.txt", "x");
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("A deeper/"), HasSubstr("? deeper/deeper"),
                                   HasSubstr("A fine.txt")));
  EXPECT_THAT(apply_all().refused, ElementsAre(testing::Field(&ApplyOutcome::Left::why,
                                                              "it is more than 200 folders deep")));
  EXPECT_EQ(read("folder/fine.txt"), "x");
  EXPECT_TRUE(empty_folder(root_ / "upper"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "upper"), fs::directory_iterator()), 0);
}

TEST_F(Reviewed, EmptyingFollowsNoLink) {
  write("outside/victim.txt", "mine\n");
  fs::create_directory_symlink(root_ / "outside", root_ / "upper/link");
  fs::create_directories(root_ / "upper/d0/d1/d0");
  write("upper/d0/d1/d0/x", "x");
  whiteout("upper/d0/gone");
  EXPECT_TRUE(empty_folder(root_ / "upper"));
  EXPECT_EQ(std::distance(fs::directory_iterator(root_ / "upper"), fs::directory_iterator()), 0);
  EXPECT_EQ(read("outside/victim.txt"), "mine\n");
  EXPECT_TRUE(empty_folder(root_ / "not-there"));
}

TEST_F(Reviewed, AHugeSparseFileIsNoHugeCopy) {
  const int made = ::open((root_ / "upper/sparse").c_str(), O_WRONLY | O_CREAT, 0644);
  ASSERT_EQ(::ftruncate(made, off_t{1} << 40), 0);
  ASSERT_EQ(::pwrite(made, "x", 1, off_t{1} << 39), 1);
  ::close(made);
  EXPECT_TRUE(apply_all().all_done());
  struct stat info{};
  ::stat((root_ / "folder/sparse").c_str(), &info);
  EXPECT_EQ(info.st_size, off_t{1} << 40);
  EXPECT_LT(info.st_blocks, 1000);
}

TEST_F(Reviewed, WhatThereIsNoRoomForIsNotBegun) {
  write("upper/new", "x");
  Changes changes = scan();
  changes.to_write = std::uint64_t{1} << 60;
  EXPECT_THAT(apply(folder(), upper(), changes, {}).error().message, HasSubstr("are free"));
  EXPECT_FALSE(fs::exists(root_ / "folder/new"));
}

TEST_F(Reviewed, WhatWasLookedAtMustStillBeThereInTheMomentOfWriting) {
  guest("echo guest >> a.txt; rm b.txt; echo x > c.txt");
  const Changes changes = scan();
  write("folder/a.txt", "mine\n");
  write("folder/b.txt", "mine\n");
  write("folder/c.txt", "mine\n");
  const auto outcome = apply(folder(), upper(), changes, {.force = true});
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome->conflicts, SizeIs(3));
  for (const char* path : {"folder/a.txt", "folder/b.txt", "folder/c.txt"})
    EXPECT_EQ(read(path), "mine\n");
}

TEST_F(Reviewed, WhatIsMadeInAFolderThatIsToGoIsNotRemoved) {
  guest("rm -r dir; mkdir b; rm b.txt; echo x > b.txt");
  const Changes changes = scan();
  write("folder/dir/deep/new.txt", "mine\n");
  const auto outcome = apply(folder(), upper(), changes, {});
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome_lines(*outcome, 10),
              ElementsAre(HasSubstr("dir                              conflict: dir/deep changed "
                                    "here in this moment")));
  EXPECT_EQ(read("folder/dir/deep/new.txt"), "mine\n");
  EXPECT_EQ(read("folder/dir/inner.txt"), "inner\n");
  EXPECT_EQ(outcome->applied, 2U);
  EXPECT_TRUE(apply_all(true).all_done());  // seen by now
  EXPECT_FALSE(fs::exists(root_ / "folder/dir"));
}

TEST_F(Reviewed, AFolderInWhichSomethingWasMadeIsNotReplaced) {
  guest("rm -r dir; echo file > dir");
  const Changes changes = scan();
  write("folder/dir/new.txt", "mine\n");
  const auto outcome = apply(folder(), upper(), changes, {});
  ASSERT_TRUE(outcome);
  EXPECT_THAT(outcome->conflicts, SizeIs(1));
  EXPECT_EQ(read("folder/dir/new.txt"), "mine\n");
  EXPECT_EQ(read("folder/dir/deep/deepest.txt"), "deepest\n");
  for (const auto& entry : fs::directory_iterator(root_ / "folder"))
    EXPECT_FALSE(is_unfinished(entry.path().filename().string())) << entry.path();
}

TEST_F(Reviewed, NamesOfOursAreNotTheGuests) {
  write("upper/.pinhole-apply.0011223344556677", "x");
  write("upper/new/.pinhole-apply.x", "x");
  write("upper/new/fine", "x");
  EXPECT_THAT(lines(), ElementsAre(HasSubstr("? .pinhole-apply.0011223344556677"),
                                   HasSubstr("A new/"), HasSubstr("? new/.pinhole-apply.x")));
  EXPECT_THAT(apply_all().refused, SizeIs(2));
  EXPECT_EQ(tree().back(), "new/fine 644 x");
}

TEST_F(Reviewed, NamesOfOneFileAreNoConflictsOfEachOther) {
  fs::create_hard_link(root_ / "folder/b.txt", root_ / "folder/dir/deep/b2.txt");
  fs::create_hard_link(root_ / "folder/b.txt", root_ / "folder/dir/deep/b3.txt");
  fs::create_hard_link(root_ / "folder/b.txt", root_ / "folder/z.txt");
  begin();
  guest("rm b.txt; rm -r dir/deep; echo z > z.txt");
  const ApplyOutcome outcome = apply_all();
  EXPECT_THAT(outcome_lines(outcome, 10), IsEmpty());
  EXPECT_EQ(read("folder/z.txt"), "z\n");
  EXPECT_FALSE(fs::exists(root_ / "folder/dir/deep"));
}

TEST_F(Reviewed, WhatIsInANewFolderIsNotedToo) {
  fs::create_directories(root_ / "upper/new/sub");
  fs::create_symlink("/etc/passwd", root_ / "upper/new/sub/out");
  fs::create_symlink("../../..", root_ / "upper/new/sub/up");
  fs::create_symlink("../../a.txt", root_ / "upper/new/sub/in");
  write("upper/new/tool", "x");
  ::chmod((root_ / "upper/new/tool").c_str(), 04755);
  fs::create_symlink("dir/../b.txt", root_ / "upper/perhaps");
  EXPECT_THAT(lines(),
              ElementsAre("  A new/                             4 files, 1 B; new/sub/out leads or "
                          "may lead out of the folder, as 1 more in it; new/tool without its "
                          "setuid and setgid bits",
                          "  A perhaps                          -> dir/../b.txt; may lead out of "
                          "the folder"));
}

TEST_F(Reviewed, OneThingThatCannotBeAppliedDoesNotHoldUpTheRest) {
  for (int i = 0; i < 5; ++i)
    ASSERT_EQ(::mkfifo((root_ / fmt::format("upper/p{}", i)).c_str(), 0600), 0);
  write("upper/z.txt", "x");
  const Changes changes = scan({.refused = 2});
  EXPECT_EQ(changes.incomplete, "");
  EXPECT_THAT(changes.list, SizeIs(4));
  EXPECT_EQ(changes.list[2].problem, "a FIFO; and perhaps more that have no line");
  EXPECT_EQ(apply(folder(), upper(), changes, {}).value().applied, 1U);
}

TEST_F(Reviewed, TheDifferenceHidesNoChange) {
  write("folder/large", std::string(2 << 20, 'a'));
  begin();
  guest(
      "chmod 755 b.txt; rm link; echo 'link to a.txt' > link; touch empty; mkfifo pipe; mkdir n; "
      "touch n/in; mkfifo n/p; printf 2 >> a.txt");
  write("upper/large", std::string(2 << 20, 'b'));
  const Changes changes = scan();
  EXPECT_THAT(
      diff_lines(folder(), upper(), changes, {}),
      ElementsAre("M a.txt                            +1 -0 [file, mode 644]", "--- a.txt",
                  "+++ a.txt", "@@ -1,3 +1,4 @@", " one", " two", " three", "+2",
                  "\\ No newline at end of file",
                  "M b.txt                            mode 644 -> 755 [file, mode 755]",
                  "A empty                            +0 [file, mode 644]",
                  "M large                            2.0 MiB -> 2.0 MiB [file, mode 644]",
                  "content not shown: larger than 1048576 bytes",
                  "T link                             +1; was a link, is a file [file, mode 644]",
                  "--- (nothing)", "+++ link", "@@ -0,0 +1,1 @@", "+link to a.txt",
                  "A n/                               1 file, 0 B [folder, mode 755]",
                  "A n/in                             0 B [file, mode 644]",
                  "? n/p                              left out: a FIFO",
                  "? pipe                             left out: a FIFO"));
  EXPECT_THAT(diff_lines(folder(), upper(), changes, {"n"}), SizeIs(3));
  EXPECT_EQ(diff_lines(folder(), upper(), scan({.changes = 1}), {}).back(),
            "this is not all, and cannot be applied: more than 1 changes");
}

TEST_F(Reviewed, TheDifferenceIsBoundedInBytes) {
  for (int i = 0; i < 9; ++i) write(fmt::format("upper/f{}", i), std::string(1 << 20, 'x'));
  const auto lines = diff_lines(folder(), upper(), scan(), {}, {.bytes = 3 << 20});
  EXPECT_EQ(lines.back(), "… and more");
  std::size_t bytes = 0;
  for (const std::string& line : lines) bytes += line.size();
  EXPECT_LT(bytes, std::size_t{4} << 20);
}

TEST_F(Reviewed, WhatTheHostWouldRunIsWithheldWithWhatItIsIn) {
  write("upper/.git/hooks/post-checkout", "x");
  write("upper/.git-not", "x");
  write("upper/dir/in/x", "x");
  write("upper/fine", "x");
  Changes changes = scan();
  const auto withheld = withhold(changes, {{".git/hooks/post-checkout", "git"}, {"dir", "why"}});
  EXPECT_THAT(withheld,
              ElementsAre(testing::FieldsAre(".git", "git"), testing::FieldsAre("dir/in", "why")));
  EXPECT_EQ(apply(folder(), upper(), changes, {}).value().applied, 2U);
  EXPECT_FALSE(fs::exists(root_ / "folder/.git"));
  EXPECT_FALSE((ApplyOutcome{.withheld = withheld}.all_done()));
  EXPECT_THAT(outcome_lines({.marked = {{"m", "why"}}, .withheld = withheld}, 0), SizeIs(3));
}

TEST_F(Reviewed, MarkedOnesAndConflictsAreNeverLeftOutOfTheLines) {
  for (int i = 0; i < 9; ++i) write(fmt::format("upper/f{}", i), "x\n");
  write("upper/.git/hooks/post-checkout", "x\n");
  const Report report{
      .changes = scan(),
      .marks = {{".git/hooks/post-checkout", "git runs what is in it"}, {"f8", "evil\nname"}}};
  EXPECT_THAT(
      change_lines(report, 2),
      ElementsAre(
          HasSubstr("  A .git/"), HasSubstr("  A f0"),
          "! A f8                               +1; this host would run it: evil\\nname",
          "    … and 7 more",
          "!   .git/hooks/post-checkout         this host would run it: git runs what is in it"));
}

TEST_F(Reviewed, TheAnswerOfTheReaderIsReadStrictly) {
  guest("echo guest >> a.txt; rm b.txt; ln -s x l; mkfifo p; mkdir -p n/m");
  const Report report{.changes = scan(), .marks = {{"a\xff", "why"}}, .gaps = {"gap"}};
  const std::string text = to_json(report);
  const auto again = parse_report(text);
  ASSERT_TRUE(again);
  EXPECT_EQ(change_lines(*again, 100), change_lines(report, 100));
  EXPECT_EQ(to_json(*again), text);
  for (std::size_t cut = 0; cut < text.size(); cut += 7)
    EXPECT_FALSE(parse_report(text.substr(0, cut)));
  EXPECT_FALSE(parse_report(
      R"({"version":1,"changes":[{"path":"zz"}],"to_write":0,"incomplete":"","marks":[],"gaps":[]})"));
  EXPECT_FALSE(parse_report(
      R"({"version":1,"changes":[],"to_write":0,"incomplete":"","marks":[["61"]],"gaps":[]})"));
  EXPECT_TRUE(parse_report(
      R"({"version":1,"changes":[],"to_write":0,"incomplete":"","marks":[["61","b"]],"gaps":[]})"));
  const ApplyOutcome outcome{.applied = 3,
                             .refused = {{"p", "a FIFO"}},
                             .conflicts = {{"c\xff", "why"}},
                             .marked = {{"m", "why"}},
                             .withheld = {{"w", "why"}}};
  EXPECT_EQ(to_json(parse_outcome(to_json(outcome)).value()), to_json(outcome));
}

TEST(ReviewStore, KeepsABoundedNumberUntilTheyAreRemoved) {
  const auto temp = sys::TempDir::make().value();
  const fs::path reviews = temp.path() / "reviews", folder = temp.path() / "folder";
  fs::create_directory(folder);
  ::chmod(folder.c_str(), 0751);
  const auto made = create(reviews, "run-1", folder, "npm test \x1b[2J");
  ASSERT_TRUE(made) << made.error().message;
  struct stat info{};
  ::stat(made->upper().c_str(), &info);
  EXPECT_EQ(info.st_mode & 07777, 0751U);
  ::stat(made->dir.c_str(), &info);
  EXPECT_EQ(info.st_mode & 07777, 0700U);
  const auto again = open(reviews, "run-1");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->folder, folder);
  EXPECT_EQ(again->command, "npm test \x1b[2J");
  EXPECT_EQ(again->began_ns, made->began_ns);
  EXPECT_FALSE(again->strict);
  EXPECT_FALSE(create(reviews, "run-1", folder, ""));
  const auto held = try_hold(*made);
  ASSERT_TRUE(held && *held);
  EXPECT_FALSE(try_hold(*made).value());
  for (std::size_t i = 2; i <= kMostReviews; ++i)
    ASSERT_TRUE(create(reviews, fmt::format("run-{}", i), folder, ""));
  EXPECT_THAT(create(reviews, "one-more", folder, "").error().message, HasSubstr("20 runs wait"));
  ASSERT_TRUE(sys::write_file_atomic(reviews / "run-2/review.json", "{}"));
  const Listed listed = list(reviews);
  EXPECT_THAT(listed.reviews, SizeIs(kMostReviews - 1));
  EXPECT_THAT(listed.damaged, ElementsAre("run-2"));
  EXPECT_TRUE(remove(*made));
  EXPECT_TRUE(create(reviews, "one-more", folder, "", true));
  EXPECT_TRUE(open(reviews, "one-more").value().strict);
}

}  // namespace
}  // namespace pinhole::review
