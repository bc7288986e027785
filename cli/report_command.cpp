// SPDX-License-Identifier: MIT
// `farcall report`: files of results in, one page out.
#include <cstdio>

#include "cli/announce.hpp"
#include "cli/commands.hpp"
#include "cli/report.hpp"

namespace cli {

int report_command(const std::vector<std::string>& files, const std::string& out) {
    std::vector<Result> results;
    for (const std::string& file : files) {
        if (!fs::is_regular_file(file)) fail(file + ": there is no such file");
        for (Result& result : read_results(file, read_file(file))) results.push_back(std::move(result));
    }
    Page page;
    try {
        page = page_of(results);
    } catch (const nlohmann::json::exception&) {
        // A member that read_results does not look at.
        fail(files.size() == 1 ? files[0] + ": this is no result of farcall bench --json"
                               : "one of the files is no result of farcall bench --json");
    }
    Announcement announcement("making " + out);
    const std::string library = shell_output("'" + (source_dir() / "scripts" / "report_library").string() + "' '" +
                                             (build_dir() / "report").string() + "'");
    if (library.empty() || !fs::exists(library)) fail("report: the plotting library is missing");
    const fs::path parts = source_dir() / "tools" / "report";
    write_file(out, page.html(read_file(parts / "page.css"), read_file(library), read_file(parts / "page.js")));
    std::printf("%s\n", out.c_str());
    return 0;
}

}  // namespace cli
