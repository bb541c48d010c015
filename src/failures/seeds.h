// SPDX-License-Identifier: Apache-2.0
// Seeds and user-data: what cloud-init would not find, not read, or not run again.
#pragma once

#include "failures/failure.h"

namespace pinhole::failures {

inline constexpr Failure kSeedWrongLabel{
    .code = "seed_wrong_label",
    .symptom =
        "cloud-init finds no datasource and configures nothing: no user, no hostname, no runcmd.",
    .message = "its label is \"{label}\", not cidata",
    .cause =
        "cloud-init recognises a NoCloud seed by the volume label alone. An ISO that was made by "
        "hand "
        "mostly has the label of the program that made it.",
    .fix = "pinhole seed build USER-DATA -o seed.iso",
};

inline constexpr Failure kSeedHasSomethingElse{
    .code = "seed_has_something_else",
    .symptom = "The seed ISO is huge, takes minutes to make, or the VM boots oddly with it.",
    .message = "it holds {name}, which is neither user-data nor meta-data",
    .cause =
        "A whole folder was captured: tools that make an ISO take a folder, and the folder was not "
        "the "
        "one with the two files. Whatever lies in it, keys too, is given to the guest.",
    .fix = "pinhole seed build USER-DATA -o seed.iso   (writes those two files and nothing else)",
};

inline constexpr Failure kSeedLacksAFile{
    .code = "seed_lacks_a_file",
    .symptom = "cloud-init skips the seed, though its label is right.",
    .message = "it holds no {name}",
    .cause = "A NoCloud seed needs user-data and meta-data, under exactly these names, at its top.",
    .fix = "pinhole seed build USER-DATA -o seed.iso",
};

inline constexpr Failure kSeedHasAFileTwice{
    .code = "seed_has_a_file_twice",
    .symptom = "cloud-init uses another configuration than the one that was put into the seed.",
    .message = "it holds {name} {count} times",
    .cause = "Two files of one name: which of them counts is for each reader to say.",
    .fix = "pinhole seed build USER-DATA -o seed.iso",
};

inline constexpr Failure kSeedTooLarge{
    .code = "seed_too_large",
    .symptom = "The seed ISO has hundreds of megabytes.",
    .message = "it has {size}, more than a seed's {most}",
    .cause = "Two small text files take less. An ISO of this size has swallowed a folder.",
    .fix = "pinhole seed build USER-DATA -o seed.iso",
};

inline constexpr Failure kSeedDamaged{
    .code = "seed_damaged",
    .symptom = "The guest cannot mount the seed, or reads half of a file.",
    .message = "it is damaged: {why}",
    .cause = "The ISO was cut short or changed after it was made.",
    .fix = "pinhole seed build USER-DATA -o seed.iso",
};

inline constexpr Failure kSeedMetaDataUnreadable{
    .code = "seed_meta_data_unreadable",
    .symptom = "cloud-init takes the seed for none, or calls its meta-data invalid.",
    .message = "its meta-data cannot be read: {why}",
    .cause = "meta-data is YAML with two keys, instance-id and local-hostname.",
    .fix = "pinhole seed build USER-DATA -o seed.iso",
};

inline constexpr Failure kSeedNoInstanceId{
    .code = "seed_no_instance_id",
    .symptom =
        "cloud-init ignores a changed configuration: what worked at the first boot is not run "
        "again.",
    .message = "its meta-data has no instance-id",
    .cause =
        "cloud-init runs a configuration once for each instance-id, and tells a change by nothing "
        "else. "
        "Pinhole derives it from the image and the user-data, so that a change makes a new one.",
    .fix = "pinhole seed build USER-DATA -o seed.iso",
};

inline constexpr Failure kUserDataWithoutHeader{
    .code = "user_data_without_header",
    .symptom = "cloud-init ignores the whole user-data, without an error.",
    .message = "{file}:1: user-data starts with neither #cloud-config nor #!",
    .cause =
        "cloud-init tells the kind of user-data by its first line, exactly. A blank in it, a "
        "capital "
        "letter, an empty line or a byte order mark before it, and nothing of the file is run.",
    .fix = "make #cloud-config the first line, exactly so (or #!/bin/sh for a script)",
};

inline constexpr Failure kUserDataEmpty{
    .code = "user_data_empty",
    .symptom = "cloud-init does nothing.",
    .message = "{file}: user-data is empty",
    .cause = "The file was not written yet, or is another one than was meant.",
    .fix = "start it with the line #cloud-config",
};

inline constexpr Failure kUserDataTooLarge{
    .code = "user_data_too_large",
    .symptom = "User-data that holds whole files is refused.",
    .message = "{file}: user-data has {size}, more than {most}",
    .cause = "A seed is read into memory by several programs in the guest at each boot.",
    .fix = "let user-data fetch what is large, or put it into the workspace",
};

inline constexpr Failure kUserDataUnknownKey{
    .code = "user_data_unknown_key",
    .symptom = "A part of the cloud-config is not run: `runcmmd`, `package`, `write-files`.",
    .message = "cloud-init has no module key \"{key}\"",
    .cause =
        "cloud-init ignores keys that no module of it has. One that is nearly such a key is a slip "
        "of "
        "the pen, and an error here; one that is like none is told of in a note.",
    .fix = "write the key as the error suggests",
};

inline constexpr const Failure* kSeeds[] = {
    &kSeedWrongLabel,        &kSeedHasSomethingElse, &kSeedLacksAFile,         &kSeedHasAFileTwice,
    &kSeedTooLarge,          &kSeedDamaged,          &kSeedMetaDataUnreadable, &kSeedNoInstanceId,
    &kUserDataWithoutHeader, &kUserDataEmpty,        &kUserDataTooLarge,       &kUserDataUnknownKey,
};

}  // namespace pinhole::failures
