// SPDX-License-Identifier: Apache-2.0
#include "image/seed.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "image/iso.h"
#include "image/user_data.h"
#include "sys/files.h"

namespace pinhole::image {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

constexpr std::string_view kConfig = "#cloud-config\nruncmd: [\"true\"]\n";

struct Folder {
  sys::TempDir dir = sys::TempDir::make().value();
  std::filesystem::path write(std::string_view name, std::string_view bytes) const {
    EXPECT_TRUE(sys::write_file_atomic(dir.path() / name, bytes));
    return dir.path() / name;
  }
};

SeedOptions options() {
  return {.user_data = std::string(kConfig), .instance_id = "iid-1", .hostname = "web"};
}

std::vector<std::string> messages(const SeedReport& report) {
  std::vector<std::string> out;
  for (const Error& problem : report.problems) out.push_back(problem.message);
  return out;
}
std::vector<std::string> problems_of(const std::filesystem::path& iso) {
  return messages(inspect_seed(iso).value());
}

TEST(Seed, IsReadBackAsItWasBuilt) {
  const Folder folder;
  const auto path = folder.dir.path() / "seed.iso";
  ASSERT_TRUE(build_seed(options(), path));
  const SeedReport report = inspect_seed(path).value();
  EXPECT_THAT(report.label, ::testing::StrCaseEq("cidata"));
  EXPECT_EQ(report.instance_id, "iid-1");
  EXPECT_EQ(report.hostname, "web");
  EXPECT_THAT(messages(report), IsEmpty());
  ASSERT_EQ(report.files.size(), 2U);
  EXPECT_LE(report.size, kMaxSeed);
}

TEST(Seed, SameInputGivesSameBytes) {
  EXPECT_EQ(seed_iso(options()).value(), seed_iso(options()).value());
}

TEST(Seed, CarriesNoPresentTime) {
  // 1970-01-01 in every volume descriptor: creation, modification, effective.
  const std::string iso = seed_iso(options()).value();
  for (const std::size_t descriptor : {16U, 17U}) {
    for (const std::size_t date : {813U, 830U, 864U}) {
      EXPECT_EQ(iso.substr(descriptor * 2048 + date, 16), "1970010100000000");
    }
  }
  EXPECT_EQ(iso.find("libarchive"), std::string::npos);  // the comment that holds the time too
}

TEST(Seed, RefusesUserDataThatDoesNotFit) {
  SeedOptions large = options();
  large.user_data.append(kMaxSeed, 'x');
  EXPECT_THAT(seed_iso(large).error().message, HasSubstr("larger than 1048576 bytes"));
}

TEST(Seed, RefusesAnInstanceIdThatWouldBreakMetaData) {
  SeedOptions bad = options();
  bad.instance_id = "a\nb: c";
  EXPECT_EQ(seed_iso(bad).error().message, "cannot build a seed: \"a\\nb: c\" is no instance id");
  bad = options();
  bad.hostname = "-web";
  EXPECT_EQ(seed_iso(bad).error().message, "cannot build a seed: \"-web\" is no hostname");
}

TEST(InstanceId, FollowsImageAndUserDataAndNothingElse) {
  const std::string base = instance_id("image", "data");
  EXPECT_EQ(base, instance_id("image", "data"));
  EXPECT_NE(base, instance_id("image", "data2"));
  EXPECT_NE(base, instance_id("image2", "data"));
  EXPECT_NE(instance_id("a", "bc"), instance_id("ab", "c"));
  EXPECT_EQ(base.size(), 36U);
}

TEST(InspectSeed, NamesACapturedFolder) {
  const Folder folder;
  const auto iso = write_iso(
      "cidata", {{"user-data", kConfig}, {"meta-data", "instance-id: x\n"}, {"holiday.jpg", "…"}},
      kMaxSeed);
  const auto report = inspect_seed(folder.write("seed.iso", iso.value())).value();
  EXPECT_THAT(messages(report),
              ElementsAre("it holds holiday.jpg, which is neither user-data nor meta-data"));
}

TEST(InspectSeed, NamesWrongLabelAndMissingFiles) {
  const Folder folder;
  const auto iso = write_iso("backup", {{"user-data", kConfig}}, kMaxSeed);
  const auto report = inspect_seed(folder.write("seed.iso", iso.value())).value();
  EXPECT_THAT(messages(report),
              ElementsAre("its label is \"BACKUP\", not cidata", "it holds no meta-data"));
}

TEST(InspectSeed, NamesMissingInstanceIdAndUnreadableMetaData) {
  const Folder folder;
  auto iso = write_iso("cidata", {{"user-data", kConfig}, {"meta-data", "a: b\n"}}, kMaxSeed);
  EXPECT_THAT(problems_of(folder.write("a.iso", iso.value())),
              ElementsAre("its meta-data has no instance-id"));
  iso = write_iso("cidata", {{"user-data", kConfig}, {"meta-data", "a: [\n"}}, kMaxSeed);
  EXPECT_THAT(problems_of(folder.write("b.iso", iso.value())),
              ElementsAre(HasSubstr("its meta-data cannot be read: meta-data:")));
}

TEST(InspectSeed, ReadsTheFirstOfManyFilesOfOneName) {
  std::vector<std::string> names;
  for (char c = 'A'; c < 'K'; ++c) names.push_back(std::string("meta-dat") + c);
  std::vector<IsoFile> files = {{"user-data", kConfig}};
  for (const std::string& name : names)
    files.push_back({name, name == "meta-datA" ? "instance-id: first\n" : "instance-id: other\n"});
  std::string iso = write_iso("cidata", files, kMaxSeed).value();
  // Rock Ridge's names, and Joliet's (UCS-2, big-endian).
  const std::string joliet("m\0e\0t\0a\0-\0d\0a\0t\0", 16);
  for (std::size_t at = 0; (at = iso.find("meta-dat", at)) != std::string::npos; at += 9)
    iso[at + 8] = 'a';
  for (std::size_t at = 0; (at = iso.find(joliet, at)) != std::string::npos; at += 17)
    iso[at + 16] = 'a';
  const Folder folder;
  const auto path = folder.write("seed.iso", iso);
  const IsoContents contents = read_iso(path, {"meta-data"}).value();
  EXPECT_EQ(std::ranges::count(contents.entries, "meta-data", &IsoEntry::name), 10);
  EXPECT_EQ(std::ranges::count(contents.entries, "", &IsoEntry::content), 10);  // one is user-data
  const auto report = inspect_seed(path).value();
  EXPECT_THAT(messages(report), ElementsAre("it holds meta-data 10 times"));
}

TEST(InspectSeed, ImageThatClaimsMoreThanItHasIsNotRead) {
  const Folder folder;
  std::string iso =
      write_iso("cidata", {{"user-data", kConfig}, {"meta-data", "instance-id: x\n"}}, kMaxSeed)
          .value();
  EXPECT_THAT(problems_of(folder.write("good.iso", iso)), IsEmpty());
  EXPECT_THAT(problems_of(folder.write("cut.iso", iso.substr(0, iso.size() - 1))),
              Contains(HasSubstr("bytes and says that it has")));
  // The size of the root folder in the primary descriptor: 4 GiB.
  std::string huge = iso;
  for (std::size_t at = 0; at < 4; ++at) huge[16 * 2048 + 156 + 10 + at] = '\xff';
  EXPECT_THAT(problems_of(folder.write("root.iso", huge)),
              Contains(HasSubstr("bytes and says that it has 429")));
  // The number of blocks: as many blocks of 2 KiB.
  for (std::size_t at = 0; at < 4; ++at) iso[16 * 2048 + 80 + at] = '\xff';
  EXPECT_THAT(problems_of(folder.write("huge.iso", iso)),
              Contains(fmt::format("it is damaged: it has {} bytes and says that it has {}",
                                   iso.size(), 0xffffffffULL * 2048)));
}

TEST(InspectSeed, NamesAnImageThatIsTooLarge) {
  const Folder folder;
  const std::string filler(std::size_t{2} << 20, 'x');
  const auto iso =
      write_iso("cidata", {{"user-data", filler}, {"meta-data", "instance-id: x\n"}}, 8 << 20);
  const auto report = inspect_seed(folder.write("seed.iso", iso.value())).value();
  EXPECT_THAT(messages(report), ElementsAre(HasSubstr("more than a seed's 1.0 MiB")));
}

TEST(InspectSeed, RefusesWhatIsNoIso) {
  const Folder folder;
  const auto path = folder.write("seed.iso", "<html>not found</html>");
  EXPECT_EQ(inspect_seed(path).error().message,
            "cannot read " + path.string() + ": it is not an ISO 9660 image");
  EXPECT_EQ(inspect_seed(folder.dir.path()).error().message,
            "cannot read " + folder.dir.path().string() + ": it is not a file");
  EXPECT_THAT(inspect_seed(folder.dir.path() / "none").error().message,
              HasSubstr("No such file or directory"));
}

TEST(InspectSeed, SurvivesEveryTruncationAndDamage) {
  const Folder folder;
  const std::string good = seed_iso(options()).value();
  const auto inspect = [&](std::string_view bytes) {
    const auto path = folder.dir.path() / "seed.iso";
    std::ofstream(path, std::ios::binary) << bytes;
    (void)inspect_seed(path);
  };
  for (std::size_t size = 0; size < good.size(); size += 2048 * 3 + 17) {
    inspect(std::string_view(good).substr(0, size));
  }
  for (std::size_t at = 16 * 2048; at < std::min<std::size_t>(good.size(), 40 * 2048); at += 61) {
    std::string damaged = good;
    damaged[at] = static_cast<char>(~damaged[at]);
    inspect(damaged);
  }
}

TEST(UserData, AcceptsCloudConfigAndScripts) {
  EXPECT_THAT(check_user_data(kConfig, "user-data").value(), IsEmpty());
  EXPECT_THAT(check_user_data("#!/bin/sh\necho: [\n", "user-data").value(), IsEmpty());
}

TEST(UserData, SaysHowTheFirstLineMustRead) {
  const Error error = check_user_data("runcmd: []\n", "my.yaml").error();
  EXPECT_EQ(error.message, "my.yaml:1: user-data starts with neither #cloud-config nor #!");
  EXPECT_THAT(error.details, ElementsAre("its first line is \"runcmd: []\""));
  EXPECT_EQ(error.fix, "make #cloud-config the first line, exactly so (or #!/bin/sh for a script)");
  EXPECT_EQ(check_user_data("# cloud-config\n", "u").error().fix,
            "write the first line exactly as #cloud-config");
  EXPECT_EQ(check_user_data(" #cloud-config\n", "u").error().fix,
            "write the first line exactly as #cloud-config");
  EXPECT_EQ(check_user_data(" \n", "u").error().message, "u: user-data is empty");
}

TEST(UserData, PointsAtBrokenYaml) {
  EXPECT_THAT(check_user_data("#cloud-config\nruncmd: [\n", "u").error().message, HasSubstr("u:"));
  EXPECT_EQ(check_user_data("#cloud-config\n- a\n", "u").error().message,
            "u:2:1: user-data must be a mapping (key: value), found a list");
}

TEST(UserData, SuggestsTheModuleThatWasMeant) {
  EXPECT_EQ(check_user_data("#cloud-config\nruncmds: []\n", "u").error().message,
            "u:2:1: cloud-init has no module key \"runcmds\"; did you mean \"runcmd\"?");
  EXPECT_THAT(check_user_data("#cloud-config\nx-my-own-extension: 1\n", "u").value(),
              ElementsAre("u:2: cloud-init ignores the key \"x-my-own-extension\""));
}

TEST(UserData, RefusesMoreThanItsLimit) {
  const std::string large = "#!/bin/sh\n" + std::string(kMaxUserData, 'x');
  EXPECT_EQ(check_user_data(large, "u").error().message,
            "u: user-data has 512.0 KiB, more than 512.0 KiB");
}

}  // namespace
}  // namespace pinhole::image
