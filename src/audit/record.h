// SPDX-License-Identifier: Apache-2.0
// One line of audit.jsonl. The format, version 1, is a JSON object a line:
//
//   {"v":1,"seq":7,"time":"2026-11-22T17:36:22.862Z","kind":"decision","vm":"web","boot":"…",
//    "request":"r-3","method":"GET","url":"https://a.example/x?key=*","rule":"policy.yaml:4",
//    "action":"allow","policy":"sha256:…","prev":"<SHA-256 of the line before, hexadecimal>"}
//
// `v`, `seq`, `time`, `kind` come first and `prev` last; members without a value are left out.
// `seq` counts from 1 without a gap over all files of the log (files.h), also across boots. `prev`
// of the first line is 64 zeros. The first line of a later file has `after`, the name that the file
// before it got.
// Rejected: a running hash in a second file (two files cannot be written at once), and a binary
// format (people read this with jq and grep).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace pinhole::audit {

inline constexpr int kFormatVersion = 1;
/// No line is longer, whatever a guest asks for; longer texts are cut and marked with "…".
inline constexpr std::size_t kLongestLine = 32 * 1024;
inline constexpr std::size_t kLongestText = 2048;
/// What a guest says of itself is worth no more.
inline constexpr std::size_t kLongestClaim = 64;
/// A request carries a few secrets; names beyond these are left out, and "…" says so.
inline constexpr std::size_t kMostSecrets = 16;
inline constexpr std::size_t kLongestSecretName = 128;
/// `prev` of the first record.
inline constexpr std::string_view kNoPrevious =
    "0000000000000000000000000000000000000000000000000000000000000000";

enum class Kind {
  start,             // a boot begins: names VM, boot, image and policy
  decision,          // allow or deny, written before the first upstream byte or the refusal
  end,               // an allowed exchange is over: status, bytes, duration, code
  denied_coalesced,  // `count` more denials like the one named here
  seal,              // an orderly end; nothing of this boot follows
  note,              // what the supervisor has to say for the record: the result of a verification
  policy,            // a reload: `policy` holds from here on
};
std::string_view kind_name(Kind kind);

/// What the guest says of the program that asks. It can say what it likes.
struct Claim {
  std::string_view program = {};
  std::optional<std::uint32_t> uid = {};
  std::optional<std::uint32_t> pid = {};
};

/// What a caller says; sequence number, time, file and chain are the writer's. Texts are borrowed
/// for the call.
struct Record {
  Kind kind = Kind::decision;
  std::string_view request = {};  // id of the request
  std::string_view method = {};
  std::string_view url = {};  // already through redact_url()
  std::string_view rule = {};
  /// "deny", or how it was let through: "allow" (one exchange), "intercept" (a CONNECT whose
  /// requests get decisions of their own), "tunnel" and "raw" (unseen bytes).
  std::string_view action = {};
  std::string_view address = {};  // the checked address that was connected to
  std::string_view code = {};     // policy.md's table
  std::string_view policy = {};   // policy hash
  std::string_view image = {};
  std::string_view note = {};
  Claim claim = {};  // "claim":{"program":"curl","uid":1000,"pid":123}
  /// Names of the secrets that went in; never a value.
  std::span<const std::string> secrets = {};
  std::string_view sent_digest = {};      // SHA-256 of the body, hexadecimal, where asked for
  std::string_view received_digest = {};  // (`bodies: digest`): `sent_sha256`, `received_sha256`
  std::optional<int> status = {};
  std::optional<std::uint64_t> sent = {};      // body bytes, guest to origin
  std::optional<std::uint64_t> received = {};  // body bytes, origin to guest
  std::optional<std::chrono::microseconds> duration = {};
  std::optional<std::uint64_t> count = {};
};

/// What every record of one run of the PEP carries.
struct Identity {
  std::string vm;
  std::string boot;
};

/// Where in the log a record stands.
struct Place {
  std::uint64_t sequence = 1;
  std::chrono::system_clock::time_point time = {};
  std::string_view previous = kNoPrevious;
  std::string_view after = {};  // in the first record of a file that follows another one
};

/// The record as a line with its newline.
std::string format_record(const Record& record, const Identity& identity, const Place& place);

/// A URL fit for a log: no userinfo, query values replaced by `*` (they carry tokens), no fragment,
/// cut at kLongestText.
std::string redact_url(std::string_view url);

}  // namespace pinhole::audit
