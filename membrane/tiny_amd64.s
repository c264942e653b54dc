#include "textflag.h"

// The whole of a program without a runtime: see tiny.go. It uses nothing outside of these lines, the stack aside.

#define READ 0
#define WRITE 1
#define CLOSE 3
#define RT_SIGACTION 13
#define NANOSLEEP 35
#define CAPSET 126
#define PRCTL 157
#define MOUNT 165
#define EXECVE 59
#define KILL 62
#define FCNTL 72
#define EXIT_GROUP 231
#define PPOLL 271
#define PIDFD_OPEN 434

TEXT ·tiny<>(SB),NOSPLIT|NOFRAME,$0-0
	MOVQ 0(SP), R13            // argc
	MOVQ 8(SP), BX             // argv[0]
	MOVQ SP, R14
	MOVBLZX 0(BX), R12         // what to be, or a descriptor
	SUBQ $64, SP
	CMPQ R12, $'p'
	JEQ pause
	CMPQ R12, $'r'
	JNE gate

	// Children that are left to it go without a trace.
	MOVQ $1, 0(SP)             // SIG_IGN
	MOVQ $0, 8(SP)
	MOVQ $0, 16(SP)
	MOVQ $0, 24(SP)
	MOVQ $RT_SIGACTION, AX
	MOVQ $17, DI               // SIGCHLD
	MOVQ SP, SI
	XORQ DX, DX
	MOVQ $8, R10
	SYSCALL
	// Only a process of the namespace may mount its /proc.
	MOVQ $MOUNT, AX
	MOVQ 24(R14), DI           // argv[2]: proc
	MOVQ 16(R14), SI           // argv[1]: where
	MOVQ DI, DX
	MOVQ $14, R10              // MS_NOSUID, MS_NODEV, MS_NOEXEC
	XORQ R8, R8
	SYSCALL
	NEGQ AX
	MOVQ AX, R13
	// From here on it has no right.
	MOVL $0x20080522, 32(SP)   // _LINUX_CAPABILITY_VERSION_3
	MOVL $0, 36(SP)
	MOVQ $0, 0(SP)
	MOVQ $0, 8(SP)
	MOVQ $0, 16(SP)
	MOVQ $CAPSET, AX
	LEAQ 32(SP), DI
	MOVQ SP, SI
	SYSCALL
	CMPQ AX, $0
	JNE done
	// No filter is on it: what is in the cell must not write into its memory.
	MOVQ $PRCTL, AX
	MOVQ $4, DI                // PR_SET_DUMPABLE
	XORQ SI, SI
	SYSCALL
	CMPQ AX, $0
	JNE done
	MOVQ R13, 0(SP)
	MOVQ $WRITE, AX
	MOVQ $1, DI
	MOVQ SP, SI
	MOVQ $1, DX
	SYSCALL
	MOVQ $CLOSE, AX
	MOVQ $1, DI
	SYSCALL
await:
	MOVQ $READ, AX
	XORQ DI, DI
	MOVQ SP, SI
	MOVQ $1, DX
	SYSCALL
	CMPQ AX, $-4               // EINTR
	JEQ await
	CMPQ AX, $1
	JNE done                   // there will be no program
	MOVQ $CLOSE, AX
	XORQ DI, DI
	SYSCALL
	MOVQ $PIDFD_OPEN, AX
	MOVQ $2, DI                // the second process is the program, or ends with it
	XORQ SI, SI
	SYSCALL
	CMPQ AX, $0
	JLT alone
	MOVQ AX, R12
watch:
	MOVL R12, 0(SP)
	MOVL $1, 4(SP)             // POLLIN
	MOVQ $PPOLL, AX
	MOVQ SP, DI
	MOVQ $1, SI
	XORQ DX, DX
	XORQ R10, R10
	MOVQ $8, R8
	SYSCALL
	CMPQ AX, $1
	JNE watch
alone:
	MOVQ $KILL, AX
	MOVQ $-1, DI
	XORQ SI, SI
	SYSCALL
	CMPQ AX, $-3               // ESRCH: nobody else is here
	JEQ done
	MOVQ $0, 0(SP)
	MOVQ $1000000, 8(SP)
	MOVQ $NANOSLEEP, AX
	MOVQ SP, DI
	XORQ SI, SI
	SYSCALL
	JMP alone

pause:
	MOVQ $READ, AX
	XORQ DI, DI
	MOVQ SP, SI
	MOVQ $1, DX
	SYSCALL
	CMPQ AX, $-4
	JEQ pause
done:
	XORQ DI, DI
exit:
	MOVQ $EXIT_GROUP, AX
	SYSCALL
	INT $3

gate:
	MOVQ $READ, AX
	MOVQ R12, DI
	MOVQ SP, SI
	MOVQ $1, DX
	SYSCALL
	CMPQ AX, $-4
	JEQ gate
	MOVQ $226, DI
	CMPQ AX, $1
	JNE exit                   // the launcher is gone
	MOVQ $FCNTL, AX
	MOVQ R12, DI
	MOVQ $2, SI                // F_SETFD
	MOVQ $1, DX                // FD_CLOEXEC
	SYSCALL
	INCQ R12
	MOVQ $FCNTL, AX
	MOVQ R12, DI
	MOVQ $2, SI                // F_SETFD
	MOVQ $1, DX                // FD_CLOEXEC
	SYSCALL
	MOVQ $EXECVE, AX
	MOVQ 16(R14), DI           // argv[1]
	LEAQ 16(R14), SI           // argv from there on
	LEAQ 16(R14)(R13*8), DX    // the environment lies behind its end
	SYSCALL
	NEGQ AX
	MOVQ AX, 0(SP)
	MOVQ $WRITE, AX
	MOVQ R12, DI
	MOVQ SP, SI
	MOVQ $1, DX
	SYSCALL
	DECQ R12
said:
	MOVQ $READ, AX             // until the launcher has said so: systemd would end it with this process
	MOVQ R12, DI
	MOVQ SP, SI
	MOVQ $1, DX
	SYSCALL
	CMPQ AX, $-4
	JEQ said
	MOVQ $203, DI
	JMP exit

// func tinyCode() *[tinySize]byte
TEXT ·tinyCode(SB),NOSPLIT,$0-8
	LEAQ ·tiny<>(SB), AX
	MOVQ AX, ret+0(FP)
	RET
