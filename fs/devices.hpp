// SPDX-License-Identifier: MIT
// Character devices by number (Linux Documentation/admin-guide/devices.txt), and the /dev that names them.
#pragma once
#include "fs/file.hpp"

namespace fs {

// Opens the character device with this number: ENXIO if there is none. Never waits.
Leaf<Ref<File>> open_device(OpenContext& how, u64 device);

// Names all devices, and the usual links, in the (empty, writable) directory `dev`: devtmpfs.
Leaf<void> populate_devices(const Path& dev, const Creds& creds);

}  // namespace fs
