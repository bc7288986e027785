# SPDX-License-Identifier: MIT
# The Linux personality as a user-level server: the rt/, fs/ and linux/ of the kernel, over hal/user and port/server.
farcall_sources(SERVER_SOURCES
  lib lib/bare/x86_64 hal/user rt rt/mem rt/remote port/server elf fs linux linux/arch/x86_64 linux/exec linux/mm linux/procfs linux/signal linux/sys linux/task servers/linux)
list(APPEND SERVER_SOURCES ${CMAKE_SOURCE_DIR}/hal/x86_64/registers.cpp)
include(cmake/vdso.cmake)
add_executable(linux-server ${SERVER_SOURCES} ${VDSO_IMAGE})
target_include_directories(linux-server PRIVATE ${CMAKE_SOURCE_DIR}
  ${CMAKE_SOURCE_DIR}/hal/user/include ${CMAKE_SOURCE_DIR}/port/server/include ${CMAKE_SOURCE_DIR}/linux/arch/x86_64/include)
target_compile_options(linux-server PRIVATE ${FARCALL_BARE_FLAGS} ${FARCALL_WARNINGS} -O2 -mno-red-zone -mno-sse -mno-mmx
  -mno-avx -fno-omit-frame-pointer)
target_link_options(linux-server PRIVATE -nostdlib -static -no-pie -fuse-ld=lld -Wl,--gc-sections -Wl,-z,max-page-size=4096
  -Wl,-z,separate-loadable-segments -Wl,--image-base=0x60000000 -Wl,--build-id=none)
farcall_precompile(linux-server)
