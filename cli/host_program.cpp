// SPDX-License-Identifier: MIT
// Programs of the host in the guest's root: see host_program.hpp.
#include "cli/host_program.hpp"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <set>
#include <sstream>

#include "cli/elf_file.hpp"

namespace cli {

namespace {

constexpr int kMaxLinks = 40;   // of one path, as in Linux
constexpr int kMaxScripts = 5;  // a script's interpreter may be a script
constexpr size_t kScriptLine = 256;
constexpr const char* kGuestPath[] = {"/bin", "/sbin", "/usr/bin", "/usr/sbin"};  // default_environment
constexpr const char* kLibraryFolders[] = {
    "/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64", "/usr/lib64", "/lib", "/usr/lib"};

std::vector<std::string> split(const std::string& text, char at) {
    std::vector<std::string> pieces;
    std::istringstream stream(text);
    for (std::string piece; std::getline(stream, piece, at);) pieces.push_back(piece);
    return pieces;
}

std::vector<std::string> words_of(const std::string& text) {
    std::vector<std::string> words;
    std::istringstream stream(text);
    for (std::string word; stream >> word;) words.push_back(word);
    return words;
}

// The head of a file, enough to see whether it is a script; empty if it cannot be read.
std::string head_of(const fs::path& path) {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    char buffer[kScriptLine];
    ssize_t n = fd.get() < 0 ? 0 : ::read(fd.get(), buffer, sizeof buffer);
    return std::string(buffer, n > 0 ? static_cast<size_t>(n) : 0);
}

// "#!INTERPRETER [ARGUMENT]": both words, the second perhaps empty; none for what is no script.
std::optional<std::pair<std::string, std::string>> script_line(std::string_view head) {
    if (!head.starts_with("#!")) return std::nullopt;
    std::string line(head.substr(2, head.find('\n') == head.npos ? head.npos : head.find('\n') - 2));
    size_t from = line.find_first_not_of(" \t");
    if (from == line.npos) return std::nullopt;
    size_t end = line.find_first_of(" \t", from);
    std::string argument = end == line.npos ? "" : line.substr(end);
    size_t first = argument.find_first_not_of(" \t"), last = argument.find_last_not_of(" \t\r");
    argument = first == argument.npos ? "" : argument.substr(first, last - first + 1);
    return std::pair{line.substr(from, end == line.npos ? end : end - from), argument};
}

// The directories of ld.so.conf and of the files that it includes, in order.
void read_loader_conf(const std::string& path, std::vector<std::string>& folders, int depth = 0) {
    if (depth > 8 || !fs::is_regular_file(path)) return;
    for (std::string line : split_lines(read_file(path))) {
        line = line.substr(0, line.find_first_of("#\n"));
        std::vector<std::string> words = words_of(line);
        if (words.empty() || words[0] == "hwcap") continue;
        if (words[0] != "include") {
            if (words[0].starts_with("/")) folders.push_back(words[0]);
            continue;
        }
        for (size_t i = 1; i < words.size(); ++i) {
            std::string pattern = fs::path(path).parent_path() / words[i];  // an absolute one stays
            glob_t found{};
            if (::glob(pattern.c_str(), 0, nullptr, &found) == 0)
                for (size_t k = 0; k < found.gl_pathc; ++k) read_loader_conf(found.gl_pathv[k], folders, depth + 1);
            ::globfree(&found);
        }
    }
}

class Provider {
public:
    Provider(const RootImage& root, CpioWriter& extra) : root_(root), extra_(extra), view_(root.entries) {}
    void provide(std::vector<std::string>& argv);

private:
    // Where a path leads in the root with what was copied, and beyond that on the host, whose file would be "/" + name.
    struct Place {
        enum class Kind { kMissing, kRoot, kCopied, kHost, kOther } kind = Kind::kMissing;
        std::string name;
        bool there() const { return kind != Kind::kMissing; }
        fs::path host() const { return "/" + name; }
    };
    using Kind = Place::Kind;

    // A library or program, for the search of what it needs.
    struct Object {
        ElfFile elf;
        std::string name;                    // as it is needed
        fs::path host_folder, guest_folder;  // $ORIGIN
        int loader = -1;                     // index of the object that needs it
    };
    struct Folder {
        fs::path host, guest;
    };

    // Follows symbolic links; with `copy` what is only on the host is added to the archive.
    Place follow(const std::string& path, bool copy);
    void provide_path(const std::string& path, int depth);
    void provide_command(const std::string& name, int depth);
    // What a file of the host needs: `host` is the file, `guest` where it is in the guest.
    void provide_needs(const fs::path& host, const fs::path& guest, int depth);
    void provide_libraries(const ElfFile& program, const fs::path& host, const fs::path& guest);
    std::vector<Folder> search_path(const std::vector<Object>& objects, size_t needing, bool musl);
    std::vector<Folder> expand(const std::string& list, const Object& object) const;
    bool take_library(const Folder& folder, const std::string& name, Object& object);
    void check_in_root(const std::string& program, const Place& place);
    [[noreturn]] void lacks(const std::string& what) { fail(program_ + ": " + what, kStatusNotFound); }

    const RootImage& root_;
    CpioWriter& extra_;
    std::map<std::string, CpioEntry> view_;
    std::string program_;  // as the user named it
};

Provider::Place Provider::follow(const std::string& path, bool copy) {
    std::vector<std::string> rest = split(path, '/'), done;
    std::reverse(rest.begin(), rest.end());
    auto join = [&] {
        std::string name;
        for (const std::string& piece : done) name += (name.empty() ? "" : "/") + piece;
        return name;
    };
    for (int links = 0; !rest.empty();) {
        std::string piece = rest.back();
        rest.pop_back();
        if (piece.empty() || piece == ".") continue;
        if (piece == "..") {
            if (!done.empty()) done.pop_back();
            continue;
        }
        done.push_back(piece);
        if (done[0] == "proc" || done[0] == "sys" || done[0] == "dev") return {Kind::kOther, join()};
        const std::string name = join();
        auto found = view_.find(name);
        struct stat st;
        const bool in_root = found != view_.end();
        if (!in_root && ::lstat(("/" + name).c_str(), &st) != 0) return {};
        const uint32_t mode = in_root ? found->second.mode : st.st_mode;
        if (S_ISLNK(mode)) {
            if (++links > kMaxLinks) return {};
            std::string target = in_root ? found->second.target : fs::read_symlink("/" + name).string();
            if (!in_root && copy) {
                extra_.symlink(name, target);
                view_[name] = {.mode = S_IFLNK | 0777, .target = target, .copied = true};
            }
            done.pop_back();
            if (target.starts_with("/")) done.clear();
            std::vector<std::string> pieces = split(target, '/');
            rest.insert(rest.end(), pieces.rbegin(), pieces.rend());
        } else if (S_ISDIR(mode)) {
            continue;
        } else if (!rest.empty()) {
            return {};
        } else if (in_root) {
            return {found->second.copied ? Kind::kCopied : Kind::kRoot, name};
        } else if (!S_ISREG(mode)) {
            return {};
        } else {
            if (copy) {
                extra_.host_file(name, "/" + name);
                view_[name] = {.mode = mode, .target = {}, .copied = true};
            }
            return {Kind::kHost, name};
        }
    }
    return {Kind::kOther, join()};  // a directory
}

std::vector<Provider::Folder> Provider::expand(const std::string& list, const Object& object) const {
    std::vector<Folder> folders;
    for (std::string text : split(list, ':')) {
        bool unknown = false;
        Folder folder;
        for (bool guest : {false, true}) {
            std::string out = text;
            const std::string origin = (guest ? object.guest_folder : object.host_folder).string();
            for (const auto& [word, value] : {std::pair<std::string, std::string>{"ORIGIN", origin},
                                              {"LIB", "lib/x86_64-linux-gnu"},
                                              {"PLATFORM", "x86_64"}}) {
                for (const std::string& form : {"${" + word + "}", "$" + word})
                    for (size_t at; (at = out.find(form)) != out.npos;) out.replace(at, form.size(), value);
            }
            unknown |= out.find('$') != out.npos || out.empty();
            (guest ? folder.guest : folder.host) = fs::path(out).lexically_normal();
        }
        if (!unknown) folders.push_back(folder);
    }
    return folders;
}

// ld.so(8): DT_RPATH of the object and of those that loaded it, unless the object has DT_RUNPATH; then that; then what
// ldconfig knows, and the default directories. LD_LIBRARY_PATH is of the host's environment, which the guest does not
// get.
std::vector<Provider::Folder> Provider::search_path(const std::vector<Object>& objects, size_t needing, bool musl) {
    std::vector<Folder> folders;
    auto add = [&](std::vector<Folder> more) { folders.insert(folders.end(), more.begin(), more.end()); };
    const Object& object = objects[needing];
    if (object.elf.runpath.empty())
        for (int i = static_cast<int>(needing); i >= 0; i = objects[static_cast<size_t>(i)].loader) {
            const Object& loader = objects[static_cast<size_t>(i)];
            if (loader.elf.runpath.empty()) add(expand(loader.elf.rpath, loader));
        }
    add(expand(object.elf.runpath, object));
    std::vector<std::string> usual;
    if (musl) {
        const char* conf = "/etc/ld-musl-x86_64.path";
        std::string text = fs::is_regular_file(conf) ? read_file(conf) : "/lib:/usr/local/lib:/usr/lib";
        std::replace(text.begin(), text.end(), '\n', ':');
        usual = split(text, ':');
    } else {
        read_loader_conf("/etc/ld.so.conf", usual);
        usual.insert(usual.end(), std::begin(kLibraryFolders), std::end(kLibraryFolders));
    }
    for (const std::string& folder : usual) folders.push_back({folder, folder});
    return folders;
}

bool Provider::take_library(const Folder& folder, const std::string& name, Object& object) {
    const fs::path host = folder.host / name, guest = folder.guest / name;
    // A file of another architecture is passed over.
    if (host != guest) {
        if (!fs::is_regular_file(host)) return false;
        auto elf = read_elf(read_file(host));
        if (!elf) return false;
        extra_.host_file(guest.relative_path(), host, true);
        object = {.elf = *elf,
                  .name = name,
                  .host_folder = fs::canonical(host).parent_path(),
                  .guest_folder = guest.parent_path()};
        return true;
    }
    Place place = follow(guest, false);
    if (place.kind == Kind::kMissing || place.kind == Kind::kOther) return false;
    if (place.kind == Kind::kRoot) {
        // What the root has is its own affair, and so is what that needs.
        object = {.elf = {}, .name = name, .host_folder = {}, .guest_folder = {}};
        return true;
    }
    if (!fs::is_regular_file(place.host())) return false;
    auto elf = read_elf(read_file(place.host()));
    if (!elf) return false;
    follow(guest, true);
    const fs::path at = place.host().parent_path();
    object = {.elf = *elf, .name = name, .host_folder = at, .guest_folder = at};
    return true;
}

void Provider::provide_libraries(const ElfFile& program, const fs::path& host, const fs::path& guest) {
    const bool musl = fs::path(program.interpreter).filename().string().starts_with("ld-musl-");
    std::vector<Object> objects;
    objects.push_back(
        {.elf = program, .name = {}, .host_folder = host.parent_path(), .guest_folder = guest.parent_path()});
    std::set<std::string> usual(std::begin(kLibraryFolders), std::end(kLibraryFolders));
    for (size_t i = 0; i < objects.size(); ++i) {
        const std::vector<std::string> needed = objects[i].elf.needed;
        for (const std::string& name : needed) {
            bool loaded = musl && (name.starts_with("libc.") || name.starts_with("ld-musl-"));
            loaded |= name == fs::path(program.interpreter).filename();
            for (const Object& object : objects) loaded |= object.name == name || object.elf.soname == name;
            if (loaded) continue;
            Object object;
            bool found = false;
            if (name.find('/') != std::string::npos) {
                found = take_library({"/", "/"}, fs::absolute(name).relative_path(), object);
                object.name = name;
            } else {
                for (const Folder& folder : search_path(objects, i, musl)) {
                    if (!(found = take_library(folder, name, object))) continue;
                    // The guest has no ldconfig cache: a link replaces what only the cache knows.
                    std::vector<std::string> conf;
                    if (!musl) read_loader_conf("/etc/ld.so.conf", conf);
                    if (std::find(conf.begin(), conf.end(), folder.guest.string()) != conf.end() &&
                        !usual.count(folder.guest.string())) {
                        Place place = follow("/usr/lib", false);
                        if (place.name.empty()) place.name = "usr/lib";
                        extra_.symlink(place.name + "/" + name, (folder.guest / name).string());
                    }
                    break;
                }
            }
            if (!found)
                lacks("the shared library " + name + (i == 0 ? "" : ", which " + objects[i].name + " needs,") +
                      " is not found on this host");
            object.loader = static_cast<int>(i);
            objects.push_back(object);
        }
    }
}

void Provider::provide_needs(const fs::path& host, const fs::path& guest, int depth) {
    if (auto script = script_line(head_of(host))) {
        const auto& [interpreter, argument] = *script;
        if (depth >= kMaxScripts) return;  // the kernel refuses it
        if (!follow(interpreter, false).there())
            lacks("its interpreter " + interpreter + " is neither in the root nor on this host");
        provide_path(interpreter, depth + 1);
        if (fs::path(interpreter).filename() != "env") return;
        // env [-S] [OPTION]... [NAME=VALUE]... PROGRAM
        for (std::string word : words_of(argument)) {
            if (word.starts_with("-S")) word.erase(0, 2);
            if (word.empty() || word.starts_with("-") || word.find('=') != word.npos) continue;
            if (word.find('/') == word.npos)
                provide_command(word, depth + 1);
            else
                provide_path(word, depth + 1);
            break;
        }
        return;
    }
    auto elf = read_elf(read_file(host));
    if (!elf || elf->interpreter.empty()) return;
    if (!follow(elf->interpreter, false).there())
        lacks("its interpreter " + elf->interpreter + " is neither in the root nor on this host");
    follow(elf->interpreter, true);
    provide_libraries(*elf, host, guest);
}

void Provider::provide_path(const std::string& path, int depth) {
    Place place = follow(path, true);
    if (place.kind == Kind::kHost) provide_needs(place.host(), place.host(), depth);
}

void Provider::provide_command(const std::string& name, int depth) {
    for (const char* folder : kGuestPath) {
        Place place = follow(std::string(folder) + "/" + name, false);
        if (place.kind == Kind::kRoot || place.kind == Kind::kCopied) return;
    }
    auto host = find_program(name);
    if (!host || !fs::is_regular_file(*host)) lacks(depth == 0 ? "not found" : name + ", which runs it, is not found");
    const std::string path = fs::absolute(*host).lexically_normal();
    provide_path(path, depth);
    for (const char* folder : kGuestPath)
        if (follow(std::string(folder) + "/" + name, false).kind == Kind::kCopied) return;
    // The guest looks in other directories than the host.
    Place folder = follow("/usr/bin", false);
    extra_.symlink((folder.name.empty() ? "usr/bin" : folder.name) + "/" + name, path);
}

// A program of the root itself: only reports what the kernel's "not found" would not.
void Provider::check_in_root(const std::string& program, const Place& place) {
    const CpioEntry& entry = view_[place.name];
    if (entry.size == 0) return;
    const std::string bytes = read_file(root_.archive).substr(entry.at, entry.size);
    std::string interpreter;
    if (auto script = script_line(std::string_view(bytes).substr(0, kScriptLine)))
        interpreter = script->first;
    else if (auto elf = read_elf(bytes))
        interpreter = elf->interpreter;
    if (interpreter.empty()) return;
    Place found = follow(interpreter, false);
    if (found.kind == Kind::kMissing || found.kind == Kind::kHost)
        fail(program + ": its interpreter " + interpreter + " is not in the root", kStatusNotFound);
}

void Provider::provide(std::vector<std::string>& argv) {
    program_ = argv.at(0);
    if (program_.find('/') == std::string::npos) {
        provide_command(program_, 0);
        for (const char* folder : kGuestPath) {
            Place place = follow(std::string(folder) + "/" + program_, false);
            if (place.kind == Kind::kRoot) return check_in_root(program_, place);
        }
        return;
    }
    // The first process starts in "/": a relative path of the host means the same words there.
    fs::path inside = fs::path(program_).lexically_normal();
    if (inside.is_relative() && inside.begin() != inside.end() && *inside.begin() == "..") {
        inside = fs::absolute(program_).lexically_normal();
        argv[0] = inside.string();
    }
    if (inside.is_relative() && fs::is_regular_file(program_) && !view_.count(inside.string())) {
        extra_.host_file(inside.string(), program_, true);
        provide_needs(fs::canonical(program_), "/" / inside, 0);
        return;
    }
    Place place = follow(inside.string(), false);
    if (place.kind == Kind::kMissing) lacks("not found");
    if (place.kind == Kind::kRoot) return check_in_root(program_, place);
    if (place.kind == Kind::kHost) provide_path(inside.string(), 0);
}

}  // namespace

void provide_program(const RootImage& root, CpioWriter& extra, std::vector<std::string>& argv) {
    Provider(root, extra).provide(argv);
}

}  // namespace cli
