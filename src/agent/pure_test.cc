// SPDX-License-Identifier: Apache-2.0
// The parts of the agent that take texts and give values.
#include <algorithm>
#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/boot.h"
#include "agent/cloud_init.h"
#include "agent/exchange.h"
#include "agent/fetch_command.h"
#include "agent/settings.h"
#include "agent/shares.h"
#include "agent/url.h"
#include "agent/workspace.h"
#include "sys/files.h"

namespace pinhole::agent {
namespace {

TEST(Url, IsTakenApartForARequestLine) {
  EXPECT_EQ(parse_url("http://a.example")->text(), "http://a.example/");
  EXPECT_EQ(parse_url("HTTPS://A.example:8443/x/y?q=1#frag")->text(),
            "https://A.example:8443/x/y?q=1");
  EXPECT_EQ(parse_url("http://a?q")->target, "/?q");
}

TEST(Url, WhatCouldSmuggleOrSurpriseIsRefused) {
  EXPECT_EQ(
      parse_url("http://a/ HTTP/1.1\r\nX: y").error().message,
      "\"http://a/ HTTP/1.1\\r\\nX: y\": a URL is visible ASCII; write other characters as %XX");
  EXPECT_EQ(parse_url("file:///etc/passwd").error().message,
            "\"file:///etc/passwd\": only http:// and https:// URLs can be fetched");
  EXPECT_EQ(parse_url("a.example").error().message,
            "\"a.example\": only http:// and https:// URLs can be fetched");
  EXPECT_EQ(parse_url("http://u:p@a/").error().message,
            "\"http://u:p@a/\": a URL with user:password@ is not sent; use a header");
  EXPECT_EQ(parse_url("http:///x").error().message, "\"http:///x\": the URL names no host");
}

TEST(Url, RedirectsResolveAsRfc3986Says) {
  const Url base = *parse_url("http://a/b/c/d?q");
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"g", "http://a/b/c/g"},
      {"./g", "http://a/b/c/g"},
      {"g/", "http://a/b/c/g/"},
      {"/g", "http://a/g"},
      {"//g", "http://g/"},
      {"?y", "http://a/b/c/d?y"},
      {"g?y", "http://a/b/c/g?y"},
      {"#s", "http://a/b/c/d?q"},
      {"..", "http://a/b/"},
      {"../..", "http://a/"},
      {"../../g", "http://a/g"},
      {"../../../g", "http://a/g"},
      {"https://x/y", "https://x/y"},
      {".", "http://a/b/c/"},
      {"g?y/../x", "http://a/b/c/g?y/../x"}};
  for (const auto& [reference, expected] : cases) {
    EXPECT_EQ(resolve_url(base, reference)->text(), expected) << reference;
  }
  EXPECT_EQ(resolve_url(base, "ftp://x/").error().code, "invalid_url");
}

TEST(RequestHead, IsWhatAProxyExpects) {
  FetchRequest request{.method = "GET", .headers = {{"X-A", "b"}}};
  EXPECT_EQ(*request_head(request, *parse_url("https://a:1/x"), std::nullopt),
            "GET https://a:1/x HTTP/1.1\r\nHost: a:1\r\nConnection: close\r\n"
            "User-Agent: pinhole-agent/" PINHOLE_VERSION "\r\nAccept: */*\r\nX-A: b\r\n\r\n");
  request.body = FetchBody{.bytes = "abc"};
  EXPECT_NE(request_head(request, *parse_url("http://a"), 3)->find("Content-Length: 3\r\n"),
            std::string::npos);
  EXPECT_NE(request_head(request, *parse_url("http://a"), std::nullopt)
                ->find("Transfer-Encoding: chunked\r\n"),
            std::string::npos);
}

TEST(RequestHead, NothingSlipsInThroughMethodOrHeaders) {
  const Url url = *parse_url("http://a/");
  const auto refusal = [&](FetchRequest request) {
    const auto head = request_head(request, url, std::nullopt);
    return head ? "accepted" : head.error().message;
  };
  EXPECT_EQ(refusal({.method = "GET /x"}), "\"GET /x\" is not a method");
  EXPECT_EQ(refusal({.headers = {{"A b", "c"}}}), "\"A b\" is not a header");
  EXPECT_EQ(refusal({.headers = {{"A", "b\r\nC: d"}}}),
            "header A: \"b\\r\\nC: d\" holds a control character");
  EXPECT_EQ(refusal({.headers = {{"host", "b"}}}), "header host is set by this program");
  EXPECT_EQ(refusal({.headers = {{"A", "b c\t\xc3\xa4"}}}), "accepted");
}

TEST(FetchCommand, ReadsItsWords) {
  const auto command = parse_fetch({"-X", "PUT", "-H", "A: b", "-d", "data", "-o", "-", "-L",
                                    "--max-redirs", "3", "--timeout", "7", "http://a/"},
                                   UnixPath{"/door"});
  ASSERT_TRUE(command) << command.error().message;
  EXPECT_EQ(command->request.method, "PUT");
  EXPECT_EQ(command->request.headers.front(), std::pair(std::string("A"), std::string("b")));
  EXPECT_EQ(command->request.body->bytes, "data");
  EXPECT_TRUE(command->request.follow);
  EXPECT_EQ(command->request.max_redirects, 3U);
  EXPECT_EQ(command->request.idle_limit, std::chrono::seconds(7));
  EXPECT_EQ(command->output, "-");
  EXPECT_EQ(command->request.door, Endpoint(UnixPath{"/door"}));
  EXPECT_EQ(parse_fetch({"-d", "x", "http://a/"}, UnixPath{"/d"})->request.method, "POST");
}

TEST(FetchCommand, WrongUsageHasOneClearError) {
  const auto refusal = [](std::vector<std::string> args) {
    const auto command = parse_fetch(args, UnixPath{"/door"});
    return command ? "accepted" : command.error().message;
  };
  EXPECT_EQ(refusal({}), "no URL was given");
  EXPECT_EQ(refusal({""}), "no URL was given");
  EXPECT_EQ(refusal({"http://a", "http://b"}), "more than one URL");
  EXPECT_EQ(refusal({"-Z"}), "unknown option \"-Z\"");
  EXPECT_EQ(refusal({"-X"}), "-X needs a value");
  EXPECT_EQ(refusal({"-H", "nocolon", "http://a"}), "header \"nocolon\" has no colon");
  EXPECT_EQ(refusal({"--max-redirs", "51", "http://a"}), "--max-redirs takes 0 to 50");
  EXPECT_EQ(refusal({"--door", "x", "http://a"}), "\"x\" is neither unix:/path nor vsock:CID:PORT");
  EXPECT_EQ(refusal({"-d", "@/nonexistent", "http://a"}),
            "cannot open /nonexistent: No such file or directory");
}

TEST(Settings, EndpointsAreReadStrictly) {
  EXPECT_EQ(*parse_endpoint("vsock:2:440"), Endpoint(VsockAddress{2, 440}));
  EXPECT_EQ(*parse_endpoint("unix:/a b"), Endpoint(UnixPath{"/a b"}));
  EXPECT_EQ(parse_endpoint("unix:" + std::string(108, 'x')).error().message,
            "\"unix:" + std::string(108, 'x') + "\": a socket path has 1 to 107 bytes");
  for (const char* bad : {"", "unix:", "vsock:2", "vsock:2:x", "vsock:4294967296:1", "tcp:1:2"}) {
    EXPECT_FALSE(parse_endpoint(bad)) << bad;
  }
  EXPECT_EQ(parse_settings({"--hello"}).error().message, "--hello needs a value");
  EXPECT_EQ(parse_settings({"--nope"}).error().message, "unknown option \"--nope\"");
  EXPECT_EQ(parse_settings({"--proxy-port", "65536"}).error().message,
            "--proxy-port: \"65536\" is not a port");
  const auto given = parse_settings({"--proxy-port", "0", "--run-dir", "/r", "--no-network-setup"});
  ASSERT_TRUE(given);
  EXPECT_EQ(given->proxy_port, 0);
  EXPECT_EQ(given->run_dir, "/r");
  EXPECT_FALSE(given->network_setup);
}

TEST(CloudInit, ResultIsJudgedByItsErrors) {
  const CloudInit good = parse_cloud_init_result(
      R"({"v1":{"datasource":"DataSourceNoCloud [seed=/dev/vdb]","errors":[]}})");
  EXPECT_EQ(good.state, CloudInit::State::done);
  EXPECT_EQ(good.detail, "DataSourceNoCloud [seed=/dev/vdb]");
  const CloudInit bad =
      parse_cloud_init_result("{\"v1\":{\"errors\":[\"('x\\u001b', E())\",\"two\"]}}");
  EXPECT_EQ(bad.state, CloudInit::State::error);
  EXPECT_EQ(bad.detail, "('x\\x1b', E()); two");
  for (const char* broken : {"", "[]", "{}", R"({"v1":{}})", R"({"v1":{"errors":1}})"}) {
    EXPECT_EQ(parse_cloud_init_result(broken).state, CloudInit::State::error) << broken;
  }
}

TEST(CloudInit, SchemaErrorsBecomeALine) {
  EXPECT_EQ(parse_schema_errors("Error: Cloud config schema errors: packages: 5 is not of type "
                                "'array', runcmd: 'x' is not of type 'array'\n"),
            "packages: 5 is not of type 'array', runcmd: 'x' is not of type 'array'");
  EXPECT_EQ(parse_schema_errors("Valid cloud-config: system userdata\n"), "");
  EXPECT_EQ(parse_schema_errors(""), "");
  EXPECT_LE(parse_schema_errors("Error: " + std::string(10'000, 'x')).size(), 310U);
}

TEST(CloudInit, FailedUnitsAreListedByName) {
  EXPECT_EQ(parse_failed_units("a.service loaded failed failed A service\nb.mount not-found\n"),
            "a.service, b.mount");
  EXPECT_EQ(parse_failed_units("0 loaded units listed\n"), "");
  std::string many;
  for (int i = 0; i < 100; ++i) many += fmt::format("unit{}.service loaded failed\n", i);
  EXPECT_EQ(std::ranges::count(parse_failed_units(many), ','), 7);
}

TEST(CloudInit, IsReadFromItsFiles) {
  const auto dir = sys::TempDir::make().value();
  const auto& root = dir.path();
  const auto put = [&](const std::string& path, std::string_view content) {
    std::filesystem::create_directories((root / path).parent_path());
    ASSERT_TRUE(sys::write_file_atomic(root / path, content));
  };
  EXPECT_EQ(read_cloud_init(root).state, CloudInit::State::absent);
  put("usr/bin/cloud-init", "");
  put("var/lib/cloud/data/instance-id", "of-an-earlier-boot\n");
  EXPECT_EQ(read_cloud_init(root).state, CloudInit::State::running);
  EXPECT_EQ(read_cloud_init(root).instance_id, "");
  put("proc/cmdline", "quiet cloud-init=disabled\n");
  EXPECT_EQ(read_cloud_init(root).state, CloudInit::State::disabled);
  put("run/cloud-init/result.json", R"({"v1":{"datasource":"x","errors":[]}})");
  put("var/lib/cloud/data/instance-id", "iid-1\n");
  EXPECT_EQ(read_cloud_init(root).state, CloudInit::State::done);
  EXPECT_EQ(read_cloud_init(root).instance_id, "iid-1");
}

TEST(Workspace, OnlyAVirtiofsCountsAsMounted) {
  const std::string root = "/dev/vda2 / ext4 rw 0 0\n";
  EXPECT_TRUE(find_workspace_mount(root + "workspace /workspace virtiofs rw 0 0\n", "/workspace"));
  EXPECT_EQ(find_workspace_mount(root, "/workspace").error().message,
            "nothing is mounted at /workspace");
  EXPECT_EQ(
      find_workspace_mount(root + "x /workspace tmpfs rw 0 0\n", "/workspace").error().message,
      "what is mounted at /workspace is tmpfs, not virtiofs");
  EXPECT_FALSE(find_workspace_mount(
      root + "workspace /workspace virtiofs rw 0 0\nx /workspace tmpfs rw 0 0\n", "/workspace"));
}

TEST(Workspace, ANonceGoesInAndComesBackAndIsGone) {
  const auto dir = sys::TempDir::make().value();
  EXPECT_TRUE(check_workspace(dir.path(), "n1"));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_EQ(check_workspace("/nonexistent", "n1").error().message,
            "cannot create a file in /nonexistent: No such file or directory");
}

TEST(Shares, TheWorkspaceIsOneEvenWhereOnlyItsUnitKnows) {
  const Settings settings;
  EXPECT_TRUE(shares_of({.nonce = "n"}, settings).empty());
  const wire::Mount data{.tag = "share-1", .path = "/data", .read_only = true};
  const wire::Mount workspace{.tag = "workspace", .path = "/workspace"};
  EXPECT_THAT(shares_of({.nonce = "n", .workspace = true, .mounts = {data}}, settings),
              testing::ElementsAre(workspace, data));
  EXPECT_THAT(shares_of({.nonce = "n", .workspace = true, .mounts = {workspace, data}}, settings),
              testing::ElementsAre(workspace, data));
}

TEST(Shares, FoldersOnTheWayAreMadeAndAFileInTheWayIsTold) {
  const auto dir = sys::TempDir::make().value();
  ASSERT_TRUE(make_folders(dir.path() / "a/b/c"));
  EXPECT_TRUE(std::filesystem::is_directory(dir.path() / "a/b/c"));
  ASSERT_TRUE(make_folders(dir.path() / "a/b/c"));
  ASSERT_TRUE(sys::write_file_atomic(dir.path() / "file", ""));
  const auto path = dir.path() / "file/x";
  EXPECT_EQ(make_folders(path).error().message,
            "cannot make " + path.string() + ": Not a directory");
}

TEST(Workspace, LookingWritesNothing) {
  const auto dir = sys::TempDir::make().value();
  EXPECT_TRUE(look_at_share(dir.path()));
  EXPECT_TRUE(std::filesystem::is_empty(dir.path()));
  EXPECT_EQ(look_at_share("/nonexistent").error().message,
            "cannot look at /nonexistent: No such file or directory");
}

TEST(Workspace, AMarkerReplacesWhatLiesThereAndFollowsNoLink) {
  const auto dir = sys::TempDir::make().value();
  const auto target = dir.path() / "elsewhere";
  const auto marker = dir.path() / "boot-ok.txt";
  ASSERT_TRUE(sys::write_file_atomic(target, "mine"));
  std::filesystem::create_symlink(target, marker);
  ASSERT_TRUE(place_file(dir.path(), "boot-ok.txt", "new"));
  EXPECT_EQ(*sys::read_file(marker, 100), "new");
  EXPECT_EQ(*sys::read_file(target, 100), "mine");
  EXPECT_FALSE(std::filesystem::is_symlink(marker));
  ASSERT_TRUE(place_file(dir.path(), "boot-ok.txt", "newer"));
  EXPECT_EQ(*sys::read_file(marker, 100), "newer");
}

TEST(FetchLine, SaysWhatCameOfACanary) {
  FetchResult good{.status = 200, .bytes = 5, .sha256 = "ab"};
  EXPECT_EQ(fetch_line({.url = "http://a/"}, good), "status=200 bytes=5 sha256=ab url=http://a/\n");
  FetchResult denied{.status = 403, .code = "denied_by_policy", .rule = "p.yaml:3\nstatus=200"};
  EXPECT_EQ(
      fetch_line({.url = "http://a/", .method = "POST"}, denied),
      "status=403 code=denied_by_policy rule=p.yaml:3_status=200 url=http://a/ method=POST\n");
  const Result<FetchResult> broken = fail(Error{.message = "cut off\nhere", .code = "truncated"});
  EXPECT_EQ(fetch_line({.url = "http://a/"}, broken),
            "status=0 code=truncated url=http://a/ cause=cut off\\nhere\n");
}

}  // namespace
}  // namespace pinhole::agent
