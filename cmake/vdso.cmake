# SPDX-License-Identifier: MIT
# The shared object that the kernel maps into programs (vdso/), built as user code with the kernel's compiler, and the
# object file that contains it.
set(VDSO_FOLDER ${CMAKE_SOURCE_DIR}/vdso/x86_64)
set(VDSO_FILE ${CMAKE_BINARY_DIR}/vdso/vdso.so)
set(VDSO_IMAGE ${VDSO_FOLDER}/image.S)
add_custom_command(OUTPUT ${VDSO_FILE}
  COMMAND ${CMAKE_COMMAND} -E make_directory ${CMAKE_BINARY_DIR}/vdso
  COMMAND ${CMAKE_CXX_COMPILER} -std=c++23 -O2 -Wall -Wextra -Werror -I${CMAKE_SOURCE_DIR} -fPIC -ffreestanding -fno-exceptions
    -fno-rtti -fno-stack-protector -fno-jump-tables -fcf-protection=none -mgeneral-regs-only -fasynchronous-unwind-tables
    -shared -nostdlib -fuse-ld=lld -Wl,-T,${VDSO_FOLDER}/vdso.ld -Wl,--version-script,${VDSO_FOLDER}/vdso.map
    -Wl,-soname,linux-vdso.so.1 -Wl,--hash-style=both -Wl,--eh-frame-hdr -Wl,-Bsymbolic -Wl,--no-undefined -Wl,-z,text
    -Wl,-z,norelro -Wl,-z,max-page-size=4096 -Wl,--build-id=none -Wl,--orphan-handling=warn -Wl,--strip-all
    -o ${VDSO_FILE} ${VDSO_FOLDER}/vdso.cpp
  DEPENDS ${VDSO_FOLDER}/vdso.cpp ${VDSO_FOLDER}/vdso.ld ${VDSO_FOLDER}/vdso.map ${CMAKE_SOURCE_DIR}/abi/vdso.hpp VERBATIM)
set_source_files_properties(${VDSO_IMAGE} PROPERTIES
  OBJECT_DEPENDS ${VDSO_FILE} INCLUDE_DIRECTORIES ${CMAKE_BINARY_DIR}/vdso)
